"""Remote shards on the node's own disk: brought once for all ranks, checked, kept within a limit, the least used ones dropped first.

`INBOL_SHARD_CACHE` names the folder (default `~/.cache/inbol/shards`) and `INBOL_SHARD_CACHE_GB` the limit (default 100); both belong to
the machine and change no number, so neither is part of a configuration.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from inbol.shards.remote import Link, download

PREFETCHERS = 4
"""Shards that one process brings at a time ahead of their use."""


class ShardCache:
    """The cache in one folder. Any number of processes of a node may use it at once."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        """`limit` in bytes; a shard larger than that is kept for as long as no other is asked for."""
        self.folder, self.limit = folder, limit
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[str, Future[Path]] = {}

    @classmethod
    def of_node(cls) -> ShardCache:
        """The cache that the environment names. Raises ValueError for a limit that is no positive number."""
        folder = os.environ.get("INBOL_SHARD_CACHE") or Path.home() / ".cache" / "inbol" / "shards"
        text = os.environ.get("INBOL_SHARD_CACHE_GB") or "100"
        try:
            limit = float(text)
        except ValueError:
            limit = 0.0
        if limit <= 0:
            raise ValueError(f"INBOL_SHARD_CACHE_GB: {text!r} is not a positive number of gigabytes")
        return cls(Path(folder), limit=int(limit * 1e9))

    def path(self, link: Link) -> Path:
        """The local file of a shard, brought if it is not there.

        The file may be dropped by another process at any time: open it at once, and ask again when that fails.

        A link without a checksum takes what its address gives the first time, and that again from then on.

        Raises:
            Unreachable: after all attempts.
            CacheFull: the disk is full.
        """
        address = hashlib.sha256(link.url.encode()).hexdigest()[:32]
        if found := self._found(address, link):
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / f"{address}.lock"):
            if found := self._found(address, link):  # another rank brought it meanwhile
                return found
            part = self.folder / f"{address}.new"
            brought = download(link.url, part, expected=link if link.sha256 else None)
            target = part.replace(self.folder / f"{address}-{brought.sha256[:16]}.tar")
            self._drop_others(target)
        return target

    def prefetch(self, link: Link) -> None:
        """Begin to bring a shard in the background. What goes wrong there is raised by `path`, which tries again."""
        if link.url in self._coming:
            return
        self._pool = self._pool or ThreadPoolExecutor(PREFETCHERS, thread_name_prefix="shards")
        self._coming[link.url] = future = self._pool.submit(self.path, link)
        future.add_done_callback(lambda _: self._coming.pop(link.url, None))

    def close(self) -> None:
        """Let no further prefetching begin."""
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _found(self, address: str, link: Link) -> Path | None:
        for path in self.folder.glob(f"{address}-{link.sha256[:16] or '*'}.tar"):
            try:
                if not link.sha256 or path.stat().st_size == link.bytes:
                    os.utime(path)  # used now
                    return path
            except FileNotFoundError:
                continue
        return None

    def _drop_others(self, newest: Path) -> None:
        """Delete the shards that were used longest ago until the limit holds; readers that have one open keep it until they close it."""
        with _locked(self.folder / "eviction.lock"):
            found = []
            for path in self.folder.glob("*.tar"):
                try:
                    found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
                except FileNotFoundError:
                    continue
            total = sum(size for _, size, _ in found)
            for _, size, path in sorted(found):
                if total <= self.limit:
                    return
                if path != newest:
                    path.unlink(missing_ok=True)
                    total -= size


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclusive over all processes of the node and their threads; released by the kernel when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
