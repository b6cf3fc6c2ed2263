"""Reads shards: their names, their samples in order, and single images by key."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from inbol.contracts import VqaSample
from inbol.shards.codec import decode

_STEM = re.compile(r"(?P<split>[a-z][a-z\-]*)-\d{6}")
_MAX_JSON_BYTES = 64 * 2**20


def split_of(name: str) -> str:
    """Split of a shard's stem: `align-train` for `align-train-000003`. Raises ValueError for another form."""
    if not (match := _STEM.fullmatch(name)):
        raise ValueError(f"{name!r} is not a shard name; it must look like 'align-train-000003'")
    return match["split"]


def shard_names(folder: Path, splits: Iterable[str] | None = None) -> list[str]:
    """Sorted stems of the shards in `folder`, of these splits or of all; files with another kind of name are not shards.

    Raises:
        ValueError: `folder` does not exist or holds no shard at all.
    """
    stems = sorted(path.stem for path in folder.glob("*.tar") if _STEM.fullmatch(path.stem))
    if not stems:
        raise ValueError(f"{folder} holds no shards (<split>-NNNNNN.tar); has the ingest stage finished there?")
    if splits is None:
        return stems
    wanted = set(splits)
    return [stem for stem in stems if split_of(stem) in wanted]


def read_shard(folder: Path, name: str) -> Iterator[VqaSample]:
    """The samples of the shard with stem `name`, in the order they were written.

    Raises:
        ValueError: a truncated tar, an unknown or missing member, wrong JSON, a member that is not a plain file; names shard and key.
    """
    path = folder / f"{name}.tar"
    _check_complete(path)
    try:
        with tarfile.open(path, mode="r:") as tar:
            key, members = "", dict[str, bytes]()
            for info in tar:
                current, _, extension = info.name.partition(".")
                if current != key and members:
                    yield decode(key, members)
                    members = {}
                key = current
                if extension in members:
                    raise ValueError(f"sample {key!r}: member .{extension} occurs twice")
                members[extension] = _read_member(tar, info, extension)
            if members:
                yield decode(key, members)
    except (ValueError, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from None


class ImageStore:
    """Random access to the encoded images of a `vqa/` folder: `store[image_key]` is one seek and one read.

    Holds the indexes and at most eight open shards. Reads with `pread`, which shares no file position, so forked workers and threads
    may use one store; a pickled store opens its files anew.
    """

    def __init__(self, folder: Path) -> None:
        """Read the indexes of every shard in `folder`. Raises ValueError for a missing or wrong index and for a key in two shards."""
        self.folder = Path(folder)
        self._places: dict[str, tuple[str, int, int]] = {}
        self._keys: dict[str, list[str]] = {}
        for name in shard_names(self.folder):
            for key, (offset, size) in _read_index(self.folder / f"{name}.idx.json").items():
                if key in self._places:
                    raise ValueError(f"{self.folder}: image {key!r} stands in both {self._places[key][0]} and {name}")
                self._places[key] = (name, offset, size)
                self._keys.setdefault(split_of(name), []).append(key)
        self._open = lru_cache(maxsize=8)(lambda name: _Handle(self.folder / f"{name}.tar"))

    def __getitem__(self, image_key: str) -> bytes:
        """The encoded image. Raises KeyError for an unknown key and ValueError when the shard ends before the image does."""
        if image_key not in self._places:
            raise KeyError(f"image {image_key!r} is in no shard of {self.folder}")
        name, offset, size = self._places[image_key]
        data = os.pread(self._open(name).fd, size, offset)
        if len(data) != size:
            raise ValueError(f"{self.folder / name}.tar: image {image_key!r} is cut off: {len(data)} of {size} bytes")
        return data

    def __contains__(self, image_key: str) -> bool:
        return image_key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path]]:
        return ImageStore, (self.folder,)

    def image_keys(self, split: str) -> list[str]:
        """Keys of the images of `split`, in the order of the shards; empty for a split without images."""
        return list(self._keys.get(split, ()))


class _Handle:
    """An open file that closes when no one reads from it any more, also after it left the cache."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def _check_complete(path: Path) -> None:
    # tarfile takes a file cut between two members for a shorter one; two zero blocks mark the end of a whole archive
    if not path.is_file():
        raise ValueError(f"{path}: no such shard")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1024))
        if size < 1024 or size % 512 or any(file.read(1024)):
            raise ValueError(f"{path}: truncated or not a tar file ({size} bytes); delete it and run ingest again")


def _read_member(tar: tarfile.TarFile, info: tarfile.TarInfo, extension: str) -> bytes:
    if not info.isreg():
        raise ValueError(f"member {info.name!r} is not a plain file")
    if extension == "json" and info.size > _MAX_JSON_BYTES:
        raise ValueError(f"member {info.name!r} has {info.size} bytes; more than {_MAX_JSON_BYTES} are not read")
    file = tar.extractfile(info)
    data = file.read() if file else b""
    if len(data) != info.size:
        raise ValueError(f"member {info.name!r} is cut off: {len(data)} of {info.size} bytes")
    return data


def _read_index(path: Path) -> dict[str, tuple[int, int]]:
    try:
        raw: Any = json.loads(path.read_bytes())
        return {str(key): (_natural(offset), _natural(size)) for key, (offset, size) in raw.items()}
    except FileNotFoundError:
        raise ValueError(f"{path}: the shard's index is missing; run ingest again") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not an index of [offset, size] by image key: {error}") from None


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a byte count")
    return value
