"""Shards that lie elsewhere: http(s), s3, gs, hf and whatever fsspec knows, or the output of a command (`pipe:`).

An address comes from the user's configuration alone, never from a shard or a manifest that was downloaded: `pipe:` runs a command.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from inbol.shards.files import write_text

ATTEMPTS = 5
"""Downloads of a shard before it counts as unreachable."""
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""
STALL_SECONDS = 60
"""A connection that brings nothing for so long is given up."""
_CHUNK = 2**20
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_SCHEME = re.compile(r"(?:pipe:|[a-z][a-z0-9+.\-]*://)")


class Unreachable(ValueError):
    """A shard that could not be had, after all attempts."""


class CacheFull(OSError):
    """The local disk took no more of a download."""


@dataclass(frozen=True, slots=True)
class Link:
    """A shard that is read through the cache."""

    url: str
    bytes: int
    sha256: str


def link_path(folder: Path, name: str) -> Path:
    """`<name>.link.json`, in the place of `<name>.tar`."""
    return folder / f"{name}.link.json"


def write_link(folder: Path, name: str, link: Link) -> None:
    """Write the link of the shard with stem `name`, atomically."""
    write_text(link_path(folder, name), json.dumps(asdict(link)))


def read_link(folder: Path, name: str) -> Link:
    """The link of the shard with stem `name`. Raises ValueError for a file that is none."""
    path = link_path(folder, name)
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        link = Link(str(raw["url"]), int(raw["bytes"]), str(raw["sha256"]))
        if link.url.startswith("pipe:"):
            raise ValueError("it names a command; only a configuration may")
        return link
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{path}: not the link of a shard: {error}") from None


def is_remote(address: str) -> bool:
    """Whether `address` is no path of this machine."""
    return bool(_SCHEME.match(address)) and not address.startswith("file://")


def expand(pattern: str) -> list[str]:
    """Addresses of a pattern: `{000..012}` is counted up, with its zeros; a local folder gives its tars, a local glob what it matches.

    Raises:
        ValueError: nothing is there, or a range runs backwards.
    """
    if match := _RANGE.search(pattern):
        first, last = match.groups()
        if int(first) > int(last):
            raise ValueError(f"{pattern!r}: the range {first}..{last} runs backwards")
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [address for number in numbers for address in expand(pattern[: match.start()] + number + pattern[match.end() :])]
    if is_remote(pattern):
        return [pattern]
    path = Path(pattern.removeprefix("file://"))
    found = sorted(path.glob("*.tar")) if path.is_dir() else sorted(path.parent.glob(path.name))
    if not found:
        raise ValueError(f"{pattern!r}: there are no shards (*.tar)")
    return [str(file) for file in found]


def download(url: str, target: Path, *, expected: Link | None = None, attempts: int = ATTEMPTS, pause: float | None = None) -> Link:
    """Bring a shard to the file `target`, which is there afterwards whole or not at all.

    Args:
        url: address.
        target: written under a temporary name beside it, flushed to disk, renamed. One process at a time may write it.
        expected: size and checksum that it must have.
        attempts: tries in all; each begins anew.
        pause: seconds before the second try, doubled each time; `FIRST_PAUSE` without it.

    Returns:
        What was brought.

    Raises:
        Unreachable: every attempt failed or brought other bytes; names the address and the last reason.
        CacheFull: the disk is full.
    """
    part = target.with_name(f".{target.name}.part")
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep((FIRST_PAUSE if pause is None else pause) * 2 ** (attempt - 1))
        try:
            with part.open("wb") as file:
                got = _copy(url, file)
                file.flush()
                os.fsync(file.fileno())
            if expected and (got.bytes, got.sha256) != (expected.bytes, expected.sha256):
                raise ValueError(f"{got.bytes} bytes with sha256 {got.sha256[:12]}, not {expected.bytes} with {expected.sha256[:12]}")
            part.replace(target)
            return got
        except BaseException as error:  # every file system of fsspec raises its own kinds
            part.unlink(missing_ok=True)
            if isinstance(error, ImportError | CacheFull) or not isinstance(error, Exception):
                raise  # no further attempt would mend it
            reason = f"{type(error).__name__}: {error}"
    raise Unreachable(f"{masked(url)}: could not be read in {attempts} attempts; the last one: {reason}")


def masked(url: str) -> str:
    """The address without a password, and without a query, which may be a signature."""
    return re.sub(r"//[^/@\s]+@", "//***@", url if url.startswith("pipe:") else url.partition("?")[0])


def _copy(url: str, file: IO[bytes]) -> Link:
    digest, size = hashlib.sha256(), 0
    with _reader(url) as source:
        while chunk := source.read(_CHUNK):
            try:
                file.write(chunk)
            except OSError as error:
                raise CacheFull(f"{error}; the shard cache is the folder of INBOL_SHARD_CACHE") from error
            digest.update(chunk)
            size += len(chunk)
    return Link(url, size, digest.hexdigest())


@contextmanager
def _reader(url: str) -> Iterator[IO[bytes]]:
    if url.startswith("pipe:"):
        process = subprocess.Popen(url.removeprefix("pipe:"), shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            yield process.stdout
            if code := process.wait():
                raise OSError(f"the command ended with {code}")
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.terminate()
                process.wait()
        return
    if not is_remote(url):
        with Path(url.removeprefix("file://")).open("rb") as source:
            yield source
        return
    import fsspec

    options: dict[str, Any] = {}
    if url.startswith(("http://", "https://")):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=STALL_SECONDS, sock_read=STALL_SECONDS)
        options = {"client_kwargs": {"timeout": timeout}, "block_size": 0}  # 0: one stream instead of many ranges
    with fsspec.open(url, "rb", **options) as source:
        yield source
