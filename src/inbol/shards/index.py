"""The index of a shard: where each sample's image and record lie, and how large the image is. Written with the shard, or built from it.

One JSON file a shard, `<stem>.idx.json`, of columns in the order of the tar: `{"version", "bytes", "keys", "formats", "numbers"}`, where
`numbers` has a list for each of `COLUMNS`. Kept in columns too: a million images are then 50 MB of numbers beside their keys.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inbol.shards.files import write_text
from inbol.shards.images import IMAGE_FORMATS, probe_image
from inbol.shards.order import IntArray
from inbol.shards.tar import Place, Problem, read_at, scan

VERSION = 2
COLUMNS = ("image offset", "image size", "json offset", "json size", "width", "height")
"""Bytes from the start of the tar; pixels, 0 where the header could not be read."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """One sample of an indexed shard."""

    key: str
    image_format: str
    image: Place
    record: Place
    """Of the `.json` member."""
    width: int
    """Pixels; 0 where the header could not be read."""
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What one shard holds, n samples."""

    bytes: int
    """Size of the tar that it was built from; another size means another shard."""
    keys: tuple[str, ...]
    """[n]."""
    formats: tuple[str, ...]
    """[n] of `IMAGE_FORMATS`."""
    numbers: IntArray
    """[n, 6], see `COLUMNS`."""

    def sample(self, row: int) -> Indexed:
        """The sample of one row."""
        offset, size, json_offset, json_size, width, height = map(int, self.numbers[row])
        return Indexed(self.keys[row], self.formats[row], Place(offset, size), Place(json_offset, json_size), width, height)


def index_path(path: Path) -> Path:
    """`<stem>.idx.json` beside the shard `path`."""
    return path.with_name(f"{path.stem}.idx.json")


def build_index(path: Path) -> Index:
    """Index of the shard at `path`; image headers are read, nothing is decoded.

    Raises:
        ValueError: the shard has a problem (`shards/tar.py`), or a sample without exactly one image and a `.json`; names shard and key.
    """
    keys, formats, numbers = [], [], []
    fd = os.open(path, os.O_RDONLY)
    try:
        for entry in scan(fd, path.name):
            if isinstance(entry, Problem):
                raise ValueError(f"{path}: {entry.reason}" + (f" (sample {entry.key!r})" if entry.key else ""))
            images = [extension for extension in entry.members if extension in IMAGE_FORMATS]
            if len(images) != 1 or "json" not in entry.members:
                raise ValueError(f"{path}: sample {entry.key!r}: needs exactly one image member (.{', .'.join(IMAGE_FORMATS)}) and .json")
            image, record = entry.members[images[0]], entry.members["json"]
            keys.append(entry.key)
            formats.append(images[0])
            numbers.append((image.offset, image.size, record.offset, record.size, *_size(fd, image)))
    finally:
        os.close(fd)
    return Index(path.stat().st_size, tuple(keys), tuple(formats), np.array(numbers, dtype=np.int64).reshape(-1, len(COLUMNS)))


def write_index(path: Path, index: Index) -> None:
    """Write `index` to the file `path`, atomically."""
    columns = index.numbers.T.tolist()
    raw = {"version": VERSION, "bytes": index.bytes, "keys": index.keys, "formats": index.formats, "numbers": columns}
    write_text(path, json.dumps(raw, separators=(",", ":")))


def read_index(path: Path) -> Index:
    """The index in the file `path`. Raises ValueError, naming it, when it is missing or is none of this version."""
    try:
        raw: Any = json.loads(path.read_bytes())
        if raw["version"] != VERSION:
            raise ValueError(f"it is of version {raw['version']!r}, not {VERSION}")
        return _checked(raw["bytes"], raw["keys"], raw["formats"], raw["numbers"])
    except FileNotFoundError:
        raise ValueError(f"{path}: the shard's index is missing; run ingest again") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: not an index of a shard: {error}; delete it, and it is built anew from the shard") from None


def load_index(path: Path) -> Index:
    """The index of the shard at `path`: read where it lies beside it and fits, else built (and kept there, where one may write).

    Raises:
        ValueError: as `build_index`; a wrong index of a shard that is there is replaced.
    """
    beside = index_path(path)
    try:
        index = read_index(beside)
        if index.bytes == path.stat().st_size:
            return index
    except ValueError:
        pass  # missing, of an older version, or damaged: the shard itself says what it holds
    index = build_index(path)
    with contextlib.suppress(OSError):  # a folder that one may only read: the index is built again next time
        write_index(beside, index)
    return index


def _size(fd: int, place: Place) -> tuple[int, int]:
    try:
        return probe_image(read_at(fd, place))[1:]
    except ValueError:
        return 0, 0


def _checked(size: Any, keys: Any, formats: Any, columns: Any) -> Index:
    numbers = np.array(columns)
    if not keys and numbers.shape == (len(COLUMNS), 0):
        numbers = numbers.astype(np.int64)  # an empty list has no type of its own
    if numbers.dtype.kind != "i" or numbers.shape != (len(COLUMNS), len(keys)) or len(formats) != len(keys) or (numbers < 0).any():
        raise ValueError("its columns are no byte counts, or not of one length")
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r} is not a byte count")
    if not all(type(key) is str for key in keys) or not set(formats) <= set(IMAGE_FORMATS):
        raise ValueError("its keys are no texts, or its formats none of images")
    return Index(size, tuple(keys), tuple(formats), np.ascontiguousarray(numbers.T, dtype=np.int64))
