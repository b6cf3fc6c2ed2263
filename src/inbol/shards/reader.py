"""Reads shards: their names, their samples in order, and single images by key; linked ones through the node's cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from inbol.contracts import VqaSample
from inbol.shards.cache import ShardCache
from inbol.shards.codec import decode
from inbol.shards.index import Index, Indexed, index_path, load_index, read_index
from inbol.shards.remote import Link, Unreachable, is_remote, link_path, read_link
from inbol.shards.tar import Problem, read_at, scan

ROWS = 2**32
"""More than a shard has samples."""
_STEM = re.compile(r"(?P<split>[a-z][a-z\-]*)-\d{6}")


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
    stems = {path.name.partition(".")[0] for pattern in ("*.tar", "*.link.json") for path in folder.glob(pattern)}
    names = sorted(stem for stem in stems if _STEM.fullmatch(stem))
    if not names:
        raise ValueError(f"{folder} holds no shards (<split>-NNNNNN.tar); has the ingest stage finished there?")
    if splits is None:
        return names
    wanted = set(splits)
    return [name for name in names if split_of(name) in wanted]


def open_shard(folder: Path, name: str, cache: ShardCache | None = None) -> int:
    """A descriptor of the shard with stem `name`, the caller's to close; a linked one comes through `cache`, or the node's.

    Raises:
        ValueError: there is no such shard, or it could not be had (`Unreachable`).
    """
    path = folder / f"{name}.tar"
    if not path.exists() and link_path(folder, name).exists():
        link = read_link(folder, name)
        if not is_remote(link.url):
            return _open_local(Path(link.url), link.bytes)
        cache = cache or ShardCache.of_node()
        for _ in range(8):
            try:
                return os.open(cache.path(link), os.O_RDONLY)
            except FileNotFoundError:
                continue  # another process dropped it between the two calls
        raise ValueError(f"{path}: dropped from the shard cache again and again; INBOL_SHARD_CACHE_GB is too small for this many readers")
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such shard; has the ingest stage finished there?") from None


def _open_local(path: Path, size: int) -> int:
    """A descriptor of a linked file of this machine. Raises ValueError when it is gone or is another one now."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}; it was linked when the data were ingested") from None
    if (now := os.fstat(fd).st_size) != size:
        os.close(fd)
        raise Unreachable(f"{path}: has {now} bytes, and had {size} when it was linked; ingest it again")
    return fd


def read_shard(folder: Path, name: str) -> Iterator[VqaSample]:
    """The samples of the shard with stem `name`, in the order they were written.

    Raises:
        ValueError: a truncated tar, an unknown or missing member, wrong JSON, a member that is not a plain file; names shard and key.
    """
    fd = open_shard(folder, name)
    try:
        for entry in scan(fd, name):
            if isinstance(entry, Problem):
                raise ValueError(f"sample {entry.key!r}: {entry.reason}" if entry.key else entry.reason)
            yield decode(entry.key, {extension: read_at(fd, place) for extension, place in entry.members.items()})
    except ValueError as error:
        raise ValueError(f"{folder / name}.tar: {error}") from None
    finally:
        os.close(fd)


class ImageStore:
    """Random access to the encoded images of a `vqa/` folder: `store[image_key]` is one seek and one read.

    Holds the indexes and at most eight open shards; a shard that could not be had is not asked for again. Reads with `pread`, which shares
    no file position, so forked workers and threads may use one store; a pickled store opens its files anew.
    """

    def __init__(self, folder: Path) -> None:
        """Read the indexes of every shard in `folder`. Raises ValueError for a missing or wrong index and for a key in two shards."""
        self.folder = Path(folder)
        self._indexes: list[tuple[str, Index]] = []
        self._places: dict[str, int] = {}  # number of the shard * ROWS + row: a million tuples would be a hundred megabytes
        self._keys: dict[str, list[str]] = {}
        self._cache: ShardCache | None = None
        self._lost: dict[str, str] = {}
        self._links: dict[str, Link] = {}
        for name in shard_names(self.folder):
            path = self.folder / f"{name}.tar"
            if not path.exists():
                self._links[name] = read_link(self.folder, name)
            index = read_index(index_path(path)) if name in self._links else load_index(path)
            self._indexes.append((name, index))
            for row, key in enumerate(index.keys, start=(len(self._indexes) - 1) * ROWS):
                if self._places.setdefault(key, row) != row:
                    other = self._indexes[self._places[key] // ROWS][0]
                    raise ValueError(f"{self.folder}: image {key!r} stands in both {other} and {name}")
            self._keys.setdefault(split_of(name), []).extend(index.keys)
        self._open = lru_cache(maxsize=8)(self._handle)

    def __getitem__(self, image_key: str) -> bytes:
        """The encoded image. Raises KeyError for an unknown key and ValueError when its shard cannot be had or ends before it does."""
        name, sample = self._place(image_key)
        try:
            return read_at(self._open(name).fd, sample.image)
        except ValueError as error:
            raise ValueError(f"{self.folder / name}.tar: image {image_key!r}: {error}") from None

    def members(self, image_key: str) -> dict[str, bytes]:
        """Encoded image and `.json` of a sample, by extension; raises as `__getitem__`."""
        name, sample = self._place(image_key)
        return {sample.image_format: self[image_key], "json": read_at(self._open(name).fd, sample.record)}

    def size(self, image_key: str) -> tuple[int, int]:
        """(width, height) in pixels, from the index; (0, 0) for what is no image. Raises KeyError for an unknown key."""
        _, sample = self._place(image_key)
        return sample.width, sample.height

    def where(self, image_key: str) -> tuple[str, int]:
        """(shard, byte in it) of an image. Raises KeyError for an unknown key."""
        name, sample = self._place(image_key)
        return f"{name}.tar", sample.image.offset

    def prefetch(self, image_keys: Iterable[str]) -> None:
        """Begin to bring the linked shards of these images to this node; unknown keys and local shards need nothing."""
        if not self._links:
            return
        for name in {self._indexes[self._places[key] // ROWS][0] for key in image_keys if key in self._places}:
            if name in self._links:
                self._node_cache().prefetch(self._links[name])

    def __contains__(self, image_key: str) -> bool:
        return image_key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[type[ImageStore], tuple[Path]]:
        return ImageStore, (self.folder,)

    def image_keys(self, split: str) -> list[str]:
        """Keys of the images of `split`, in the order of the shards; empty for a split without images."""
        return list(self._keys.get(split, ()))

    def _place(self, image_key: str) -> tuple[str, Indexed]:
        if image_key not in self._places:
            raise KeyError(f"image {image_key!r} is in no shard of {self.folder}")
        shard, row = divmod(self._places[image_key], ROWS)
        name, index = self._indexes[shard]
        return name, index.sample(row)

    def _node_cache(self) -> ShardCache:
        self._cache = self._cache or ShardCache.of_node()
        return self._cache

    def _handle(self, name: str) -> _Handle:
        if name in self._lost:  # its attempts take seconds: once a shard, not once an image
            raise Unreachable(self._lost[name])
        try:
            return _Handle(open_shard(self.folder, name, self._node_cache() if name in self._links else None))
        except Unreachable as error:
            self._lost[name] = str(error)
            raise


class _Handle:
    """An open file that closes when no one reads from it any more, also after it left the cache."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)
