"""The index of a shard: where each sample's image and record lie, and how large the image is. Written with the shard, or built from it.

One JSON file a shard, `<stem>.idx.json`: `{"version", "bytes", "samples": [[key, format, offset, size, json offset, json size, width,
height], ...]}`, offsets in bytes from the start of the tar, in the order of the tar.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.shards.files import write_text
from inbol.shards.images import IMAGE_FORMATS, probe_image
from inbol.shards.tar import Place, Problem, read_at, scan

VERSION = 2


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


@dataclass(frozen=True, slots=True)
class Index:
    """What one shard holds."""

    bytes: int
    """Size of the tar that it was built from; another size means another shard."""
    samples: tuple[Indexed, ...]


def index_path(path: Path) -> Path:
    """`<stem>.idx.json` beside the shard `path`."""
    return path.with_name(f"{path.stem}.idx.json")


def build_index(path: Path) -> Index:
    """Index of the shard at `path`; image headers are read, nothing is decoded.

    Raises:
        ValueError: the shard has a problem (`shards/tar.py`), or a sample without exactly one image and a `.json`; names shard and key.
    """
    samples = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for entry in scan(fd, path.name):
            if isinstance(entry, Problem):
                raise ValueError(f"{path}: {entry.reason}" + (f" (sample {entry.key!r})" if entry.key else ""))
            formats = [extension for extension in entry.members if extension in IMAGE_FORMATS]
            if len(formats) != 1 or "json" not in entry.members:
                raise ValueError(f"{path}: sample {entry.key!r}: needs exactly one image member (.{', .'.join(IMAGE_FORMATS)}) and .json")
            place = entry.members[formats[0]]
            samples.append(Indexed(entry.key, formats[0], place, entry.members["json"], *_size(fd, place)))
    finally:
        os.close(fd)
    return Index(path.stat().st_size, tuple(samples))


def write_index(path: Path, index: Index) -> None:
    """Write `index` to the file `path`, atomically."""
    lines = [
        [s.key, s.image_format, s.image.offset, s.image.size, s.record.offset, s.record.size, s.width, s.height] for s in index.samples
    ]
    write_text(path, json.dumps({"version": VERSION, "bytes": index.bytes, "samples": lines}, separators=(",", ":")))


def read_index(path: Path) -> Index:
    """The index in the file `path`. Raises ValueError, naming it, when it is missing or is none of this version."""
    try:
        raw: Any = json.loads(path.read_bytes())
        if raw["version"] != VERSION:
            raise ValueError(f"it is of version {raw['version']!r}, not {VERSION}")
        return Index(_natural(raw["bytes"]), tuple(_indexed(*line) for line in raw["samples"]))
    except FileNotFoundError:
        raise ValueError(f"{path}: the shard's index is missing; run ingest again") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
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


def _indexed(key: Any, image_format: Any, *numbers: Any) -> Indexed:
    offset, size, json_offset, json_size, width, height = map(_natural, numbers)
    if not isinstance(key, str) or image_format not in IMAGE_FORMATS:
        raise ValueError(f"{key!r} with format {image_format!r}")
    return Indexed(key, image_format, Place(offset, size), Place(json_offset, json_size), width, height)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a byte count")
    return value
