"""Shards of this project's own format that stay where they lie: their index and checksum are kept, and they are read through the cache."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inbol.shards.cache import ShardCache
from inbol.shards.codec import decode
from inbol.shards.images import decode_image
from inbol.shards.index import build_index, index_path, write_index
from inbol.shards.remote import Link, expand, is_remote, masked, write_link
from inbol.shards.tar import Problem, read_at, scan


def link_shards(
    out: Path, parts: Mapping[str, str], cache: ShardCache, report: Callable[[int, int, str], None] = lambda *_: None
) -> dict[str, Any]:
    """Write `<split>-NNNNNN.link.json` and `.idx.json` for every shard of every part.

    Args:
        out: the `vqa/` folder.
        parts: address pattern by name of the data. Keys stay as they are, so the names must be in them already, or be "".
        cache: where remote shards are read from, now and in training.
        report: called with (shards done, shards, address).

    Returns:
        `shards_linked` and `bytes_linked`.

    Raises:
        ValueError: a command (`pipe:`), which could not be repeated; a shard with a problem, of another format, or of several splits. A
            link points at the whole shard, so nothing in it can be set aside: copy such data (`source.link=false`).
    """
    addresses = [address for pattern in parts.values() for address in expand(pattern)]
    numbers: Counter[str] = Counter()
    size = 0
    for done, address in enumerate(addresses):
        report(done, len(addresses), masked(address))
        if address.startswith("pipe:"):
            raise ValueError(f"{address!r}: the output of a command cannot be linked; set source.link=false")
        remote = is_remote(address)
        path = cache.path(Link(address, 0, "")) if remote else Path(address.removeprefix("file://")).resolve()
        try:
            split = _split(path)
        except ValueError as error:
            raise ValueError(f"{masked(address)}: {error}; it cannot be linked as it is: set source.link=false") from None
        name = f"{split}-{numbers[split]:06d}"
        with path.open("rb") as file:
            link = Link(address if remote else str(path), path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
        write_index(index_path(out / f"{name}.tar"), build_index(path))
        write_link(out, name, link)
        numbers[split] += 1
        size += link.bytes
    report(len(addresses), len(addresses), "")
    return {"shards_linked": len(addresses), "bytes_linked": size}


def _split(path: Path) -> str:
    """The split of all samples of a shard, each decoded once. Raises ValueError for anything that cannot be used."""
    splits = set()
    fd = os.open(path, os.O_RDONLY)
    try:
        for entry in scan(fd, path.name):
            if isinstance(entry, Problem):
                raise ValueError(f"sample {entry.key!r}: {entry.reason}" if entry.key else entry.reason)
            sample = decode(entry.key, {extension: read_at(fd, place) for extension, place in entry.members.items()})
            try:
                decode_image(sample.image)
            except ValueError as error:
                raise ValueError(f"sample {entry.key!r}: {error}") from None
            splits.add(sample.split)
    finally:
        os.close(fd)
    if len(splits) != 1:
        raise ValueError(f"its samples are of several splits ({', '.join(sorted(splits))})")
    return splits.pop()
