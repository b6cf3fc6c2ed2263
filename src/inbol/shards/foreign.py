"""The source `shards`: tar files that somebody else made, here or far away, read once, every sample checked before it is taken.

What cannot be used is a `Problem`, and stands in `quarantine.jsonl`; nothing is left out silently.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inbol.contracts import SPLITS, VqaSample
from inbol.shards.cache import ShardCache
from inbol.shards.codec import decode
from inbol.shards.images import IMAGE_FORMATS, decode_image
from inbol.shards.remote import Link, Unreachable, expand, is_remote, masked
from inbol.shards.tar import Entry, Place, Problem, read_at, scan
from inbol.sources.local import share_out
from inbol.sources.webdataset import NAME, safe_key, sample_of

READ = (*IMAGE_FORMATS, "json")
"""Members that are looked at; the others are counted."""


@dataclass(frozen=True, slots=True)
class Found:
    """A sample that can be used."""

    shard: int
    """Number of its shard among all addresses."""
    key: str
    """As the shard has it."""
    members: tuple[tuple[str, Place], ...]
    split: str
    """Empty where its record says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that a list of shards holds."""

    addresses: tuple[tuple[str, str], ...]
    """(part, address) of every shard, in order."""
    samples: dict[str, Found]
    """By key, in order."""
    problems: tuple[Problem, ...]
    total: int
    """Samples met, those with problems included; a shard that could not be read counts as one."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Members that are never read, by extension."""


def survey(parts: Mapping[str, str], cache: ShardCache, report: Callable[[int, int, str], None] = lambda *_: None) -> Survey:
    """Read every sample of every shard once.

    Args:
        parts: address pattern (`remote.expand`) by name of the data; one part may have the name "".
        cache: where remote shards are kept.
        report: called with (shards done, shards, address).

    Raises:
        ValueError: a pattern that gives no shard.
    """
    addresses = tuple((part, address) for part, pattern in parts.items() for address in expand(pattern))
    samples: dict[str, Found] = {}
    problems: list[Problem] = []
    ignored: Counter[str] = Counter()
    for number, found in check_shards(addresses, cache, report):
        if isinstance(found, Problem):
            problems.append(found)
            continue
        sample, entry = found
        ignored.update(never_read(entry))
        used = tuple((extension, place) for extension, place in entry.members.items() if extension in READ)
        samples[sample.key] = Found(number, entry.key, used, sample.split)
    return Survey(
        addresses=addresses,
        samples=samples,
        problems=tuple(problems),
        total=len(samples) + len(problems),
        ignored=dict(sorted(ignored.items())),
    )


def never_read(entry: Entry) -> list[str]:
    """Extensions of the members that are not looked at."""
    return [extension for extension in entry.members if extension not in READ]


def check_shards(
    addresses: Sequence[tuple[str, str]], cache: ShardCache, report: Callable[[int, int, str], None]
) -> Iterator[tuple[int, tuple[VqaSample, Entry] | Problem]]:
    """(number of the shard, a sample that can be used or a problem) of all shards, in order; a key that came before is a problem too.

    Args:
        addresses: (part, address) of each shard.
        cache: remote shards are asked for two ahead.
        report: called with (shards done, shards, address).
    """
    seen: dict[str, str] = {}
    for number, (part, address) in enumerate(addresses):
        report(number, len(addresses), masked(address))
        for _, ahead in addresses[number + 1 : number + 3]:
            if is_remote(ahead):
                cache.prefetch(Link(ahead, 0, ""))
        for found in check_shard(address, cache, part=part):
            if not isinstance(found, Problem):
                sample, entry = found
                if sample.key in seen:
                    found = _problem(address, entry, f"its key {sample.key!r} came before in {seen[sample.key]}")
                else:
                    seen[sample.key] = masked(address)
            yield number, found
    report(len(addresses), len(addresses), "")


def check_shard(address: str, cache: ShardCache, *, part: str = "") -> Iterator[tuple[VqaSample, Entry] | Problem]:
    """The samples of one shard, decoded, and its problems, in the order of the bytes."""
    try:
        fd = open_address(address, cache)
    except (OSError, Unreachable) as error:
        yield Problem(shard=masked(address), offset=0, key="", reason=str(error), fatal=True)
        return
    try:
        for entry in scan(fd, masked(address)):
            if isinstance(entry, Problem):
                yield entry
                continue
            try:
                yield _sample(entry.key, _read(fd, entry.members.items()), part, decode_pixels=True), entry
            except ValueError as error:
                yield _problem(address, entry, str(error))
    finally:
        os.close(fd)


def open_address(address: str, cache: ShardCache) -> int:
    """A descriptor of the shard, the caller's to close. Raises OSError, or Unreachable."""
    path = cache.path(Link(address, 0, "")) if is_remote(address) else Path(address.removeprefix("file://"))
    return os.open(path, os.O_RDONLY)


class ForeignShards:
    """A surveyed list of shards as a source."""

    def __init__(self, found: Survey, cache: ShardCache, *, seed: int, sizes: dict[str, int]) -> None:
        """`sizes` are the proportions of the splits, for samples that say none; `seed` shuffles them."""
        self.found, self.cache, self.seed, self.sizes = found, cache, seed, sizes
        self._open: tuple[int, int] = (-1, -1)

    def splits(self) -> dict[str, list[str]]:
        """Keys of the images by split, in the order they are written. Raises ValueError when all sizes are 0 and some say no split."""
        result: dict[str, list[str]] = {split: [] for split in SPLITS}
        for key, sample in self.found.samples.items():
            if sample.split:
                result[sample.split].append(key)
        free = [key for key, sample in self.found.samples.items() if not sample.split]
        for split, keys in share_out(free, self.sizes, seed=self.seed, name=NAME).items():
            result[split] += keys
        # shard by shard, so that each is read once from its beginning to its end
        order = {key: number for number, key in enumerate(self.found.samples)}
        return {split: sorted(keys, key=order.__getitem__) for split, keys in result.items()}

    def build(self, split: str, key: str) -> VqaSample:
        """The sample of one image of `split`."""
        found = self.found.samples[key]
        part, address = self.found.addresses[found.shard]
        if self._open[0] != found.shard:
            if self._open[1] >= 0:
                os.close(self._open[1])
            self._open = found.shard, open_address(address, self.cache)
        members = _read(self._open[1], found.members)
        return replace(_sample(found.key, members, part, decode_pixels=False), split=split)


def _sample(key: str, members: dict[str, bytes], part: str, *, decode_pixels: bool) -> VqaSample:
    """A sample in a foreign form, or in this project's own. Raises ValueError for one that cannot be used."""
    safe = safe_key(key, part)
    if b'"image_key"' not in members.get("json", b""):
        return sample_of(safe, members, part=part, decode=decode_pixels)
    sample = decode(key, members)
    if decode_pixels:
        decode_image(sample.image)
    if not part:
        return sample
    questions = tuple(replace(question, key=f"{part}-{question.key}", image_key=safe) for question in sample.questions)
    return replace(sample, key=safe, questions=questions, source=part)


def _read(fd: int, members: Iterable[tuple[str, Place]]) -> dict[str, bytes]:
    return {extension: read_at(fd, place) for extension, place in members if extension in READ}


def _problem(address: str, entry: Entry, reason: str) -> Problem:
    return Problem(
        shard=masked(address), offset=min((place.offset for place in entry.members.values()), default=0), key=entry.key, reason=reason
    )
