"""The members of a tar file that nobody vouches for: where they lie, and what is wrong with it. Nothing is extracted.

Samples are WebDataset's: members that stand together and share the part of their name before the first dot.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

MAX_MEMBER_BYTES = 256 * 2**20
"""No member above this is read; an image of the largest decodable size is smaller."""
MAX_JSON_BYTES = 64 * 2**20
"""No `.json` above this is read."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of a member lie in the tar."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample of a shard, not read yet."""

    key: str
    """As written; it may hold slashes and is never used as a path."""
    members: dict[str, Place] = field(default_factory=dict)
    """By extension in lower case (`png`, `json`, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something in a shard that cannot be used, as a line of `quarantine.jsonl`."""

    shard: str
    """Name of the shard's file, or its address."""
    offset: int
    """Byte in the tar at which it begins."""
    key: str
    """Sample, empty where the tar itself is damaged."""
    reason: str
    fatal: bool = False
    """Whatever follows in this shard could not be read either."""


def scan(fd: int, name: str) -> Iterator[Entry | Problem]:
    """The samples of a tar and its problems, in the order of the bytes. Reads headers alone.

    Args:
        fd: of the open file; its position moves.
        name: of the shard, for the problems.

    Yields:
        `Entry` for every run of members with one key; `Problem` for a member that is no plain file, is too large or occurs twice (its
        sample is left out), for a key that came before, and, fatal, where the tar ends too early (the last sample is left out) or is none.
    """
    end = os.fstat(fd).st_size
    if end == 0:
        yield Problem(shard=name, offset=0, key="", reason="truncated: the file has no bytes", fatal=True)
        return
    seen: set[str] = set()
    entry: Entry | None = None
    spoilt = ""  # key of the sample that a problem was reported for

    def finished() -> Iterator[Entry | Problem]:
        if entry is None or entry.key == spoilt:
            return
        if entry.key in seen:
            first = min((place.offset for place in entry.members.values()), default=0)
            yield Problem(shard=name, offset=first, key=entry.key, reason="a sample with this key came before")
        elif entry.members:
            seen.add(entry.key)
            yield entry

    found = 0
    for member in _members(fd, name):
        if isinstance(member, Problem):
            # the sample that was being read is lost with it: nobody knows whether another member would have followed
            yield replace(member, key=entry.key) if entry and entry.key != spoilt else member
            return
        found += 1
        key, extension = split_name(member.name)
        if entry is None or key != entry.key:
            yield from finished()
            entry, spoilt = Entry(key), ""
        if key == spoilt:
            continue
        if reason := _refusal(member, extension, entry):
            spoilt = key
            yield Problem(shard=name, offset=member.offset, key=key, reason=reason)
            continue
        entry.members[extension] = Place(member.offset_data, member.size)
    yield from finished()
    if not found:
        yield Problem(shard=name, offset=0, key="", reason="the tar has no members", fatal=True)


def split_name(name: str) -> tuple[str, str]:
    """(key, extension in lower case) of a member: `a/b.c.png` is ("a/b", "c.png"), as WebDataset splits it."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return folder + slash + stem, extension.lower()


def read_at(fd: int, place: Place) -> bytes:
    """The bytes of a member. Raises ValueError when the file ends before they do."""
    data = os.pread(fd, place.size, place.offset)
    if len(data) != place.size:
        raise ValueError(f"cut off: {len(data)} of {place.size} bytes")
    return data


def _refusal(member: tarfile.TarInfo, extension: str, entry: Entry) -> str:
    """Why a member is not taken; empty when it is."""
    if not member.isreg() or member.issparse():
        return f"member {member.name!r} is not a plain file"
    limit = MAX_JSON_BYTES if extension == "json" else MAX_MEMBER_BYTES
    if member.size > limit:
        return f"member {member.name!r} has {member.size} bytes; more than {limit} are not read"
    if extension in entry.members:
        return f"member .{extension} occurs twice"
    return ""


def _members(fd: int, name: str) -> Iterator[tarfile.TarInfo | Problem]:
    """Headers of a tar up to its end mark, and a fatal problem where it does not get there."""
    end = os.fstat(fd).st_size
    at = 0

    def broken(reason: str) -> Problem:
        return Problem(shard=name, offset=at, key="", reason=f"{reason}; truncated or not a tar file", fatal=True)

    try:
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(fd), "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                at = member.offset
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.isdir():
                    continue
                if member.size < 0 or member.offset_data + (member.size if member.isreg() else 0) > end:
                    yield broken(f"member {member.name!r} of {member.size} bytes goes on behind the file's {end}")
                    return
                yield member
            at = tar.offset
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError, RecursionError) as error:
        yield broken(f"{type(error).__name__}: {error}")
        return
    # tarfile takes a file cut between two members for a shorter one; two blocks of zeros mark the end of a whole archive
    if end % _BLOCK or end < 2 * _BLOCK or any(os.pread(fd, 2 * _BLOCK, end - 2 * _BLOCK)):
        yield broken(f"no end mark in {end} bytes")
