"""Writes shards: tar files in WebDataset's layout, byte-identical for equal samples, whole or absent.

Written with `tarfile`: `webdataset.TarWriter` makes the same members, but importing it imports torch, which stages without a model
must not pay for.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

from inbol.contracts import VqaSample
from inbol.shards.codec import encode
from inbol.shards.index import build_index, index_path, write_index


def write_shard(path: Path, samples: Iterable[VqaSample]) -> int:
    """Write `samples` to the tar file `path` and their index beside it; returns their number.

    The index is renamed into place before the tar, so a shard that exists has its index.

    Raises:
        ValueError: a sample that cannot be encoded, or two samples with one key. Nothing is left at `path` then.
        OSError: the disk is full; nothing is left at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    keys: set[str] = set()
    try:
        with part.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for sample in samples:
                    if sample.key in keys:
                        raise ValueError(f"{path.name}: two samples have the key {sample.key!r}")
                    keys.add(sample.key)
                    for name, data in encode(sample).items():
                        tar.addfile(_member(name, len(data)), io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        write_index(index_path(path), build_index(part))
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return len(keys)


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)  # its mtime, uid, gid and names are 0 and empty: equal samples give equal bytes
    info.size = size
    info.mode = 0o444
    return info
