"""The images that a training looks at: decoded late, asked for ahead of time, set aside when they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from inbol.shards.images import decode_image
from inbol.shards.quarantine import TooManyBad, read_quarantine
from inbol.shards.reader import ImageStore
from inbol.shards.tar import Problem
from inbol.training.ranks import gathered

BLANK = (64, 64)
"""Size of what is shown for an image of which not even the size is known."""


class Images:
    """The images of a `vqa/` folder by key."""

    def __init__(self, folder: Path, *, quarantine: Path | None = None) -> None:
        """`quarantine`: where images that cannot be read are named; without it they are an error."""
        self.store = ImageStore(folder)
        self.quarantine = quarantine
        self.unreadable: set[str] = set()
        self.named = {problem.key for problem in read_quarantine(quarantine)} if quarantine else set()

    def __call__(self, key: str) -> Image.Image:
        """The image as RGB, or a grey one of its size when it is set aside.

        Raises:
            KeyError: an unknown key.
            ValueError: it cannot be read, and there is no quarantine.
        """
        if key not in self.unreadable:
            try:
                return decode_image(self.store[key])
            except (ValueError, OSError) as error:
                if self.quarantine is None:
                    raise ValueError(f"image {key!r}: {error}") from None
                self._set_aside(key, str(error))
        width, height = self.store.size(key)
        return Image.new("RGB", (width, height) if width and height else BLANK, (128, 128, 128))

    def size(self, key: str) -> tuple[int, int]:
        """(width, height) in pixels, without reading the image where its index knows it."""
        width, height = self.store.size(key)
        return (width, height) if width and height else self(key).size

    def prefetch(self, keys: Iterable[str]) -> None:
        """Bring the remote shards of these images to this node, in the background."""
        self.store.prefetch(keys)

    def _set_aside(self, key: str, reason: str) -> None:
        self.unreadable.add(key)
        if key not in self.named and self.quarantine is not None:
            shard, offset = self.store.where(key)
            self.named.add(key)
            with self.quarantine.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(Problem(shard=shard, offset=offset, key=key, reason=reason)), sort_keys=True) + "\n")


def check_unreadable(trees: Set[str], *, size: int, share: float, world_size: int) -> int:
    """Number of trees that any rank could not read. Called by all ranks, which all get the same, or the same error.

    Args:
        trees: names of those of this rank.
        size: of all trees.
        share: of them that is tolerated, in [0, 1].
        world_size: number of ranks.

    Raises:
        TooManyBad: there are more, with the first of them.
    """
    everyone = sorted(set[str]().union(*gathered(sorted(trees), world_size)))
    if len(everyone) > share * size:
        raise TooManyBad(
            f"{len(everyone)} of {size} trees have an image that could not be read, and optim.max_bad_share={share:g} tolerates "
            f"{int(share * size)}; the quarantine files of the stage say why: {', '.join(everyone[:10])}"
        )
    return len(everyone)
