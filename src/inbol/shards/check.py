"""What a folder of shards holds and what is wrong with it, before anything is trained on it: behind `make data-check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from inbol.shards.cache import ShardCache
from inbol.shards.foreign import check_shards, never_read
from inbol.shards.images import probe_image
from inbol.shards.remote import expand, masked
from inbol.shards.tar import Problem

SHOWN = 24
"""Samples on the contact sheet."""
LISTED = 10
"""Problems that are printed; all stand in the quarantine."""


@dataclass(slots=True)
class ShardCount:
    """One shard."""

    address: str
    samples: int = 0
    problems: int = 0
    image_bytes: int = 0


@dataclass(slots=True)
class Report:
    """Everything that was found."""

    shards: list[ShardCount] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    splits: dict[str, int] = field(default_factory=dict)
    """Samples by split; "" where the record says none."""
    questions: int = 0
    unanswerable: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Images by "width x height"."""
    image_bytes: list[int] = field(default_factory=list)
    never_read: dict[str, int] = field(default_factory=dict)
    keys: tuple[str, str] = ("", "")
    """First and last."""

    @property
    def samples(self) -> int:
        """Samples that can be used."""
        return len(self.image_bytes)


Show = Callable[[str, bytes, str], None]
"""(key, encoded image, first question) of each of the first samples."""


def check(pattern: str, cache: ShardCache, *, report: Callable[[int, int, str], None], show: Show = lambda *_: None) -> Report:
    """Read every sample of every shard of an address pattern (`remote.expand`), pixels included.

    Raises:
        ValueError: there are no shards.
    """
    addresses = [("", address) for address in expand(pattern)]
    found = Report(shards=[ShardCount(masked(address)) for _, address in addresses])
    splits, sources, formats, sizes, unread = (Counter[str]() for _ in range(5))
    for number, item in check_shards(addresses, cache, report):
        shard = found.shards[number]
        if isinstance(item, Problem):
            shard.problems += 1
            found.problems.append(item)
            continue
        sample, entry = item
        if found.samples < SHOWN:
            show(sample.key, sample.image, sample.questions[0].text if sample.questions else "")
        image_format, width, height = probe_image(sample.image)
        shard.samples += 1
        shard.image_bytes += len(sample.image)
        found.image_bytes.append(len(sample.image))
        found.questions += len(sample.questions)
        found.unanswerable += sum(not question.answerable for question in sample.questions)
        found.keys = (found.keys[0] or sample.key, sample.key)
        splits[sample.split] += 1
        sources[sample.source] += 1
        formats[image_format] += 1
        sizes[f"{width} x {height}"] += 1
        unread.update(never_read(entry))
    found.splits, found.sources, found.formats, found.sizes, found.never_read = map(dict, (splits, sources, formats, sizes, unread))
    return found


@dataclass(frozen=True, slots=True)
class Balance:
    """Samples that a rank would read in an epoch."""

    fewest: int
    most: int
    idle: int
    """Ranks that would read nothing."""


def balance(counts: Sequence[int], ranks: int) -> tuple[Balance, Balance]:
    """(by this project's order, which deals samples; by whole shards, as `webdataset.split_by_node` deals them) over `ranks` ranks.

    Args:
        counts: samples of each shard.
        ranks: at least 1.
    """
    total = sum(counts)
    whole = [sum(counts[rank::ranks]) for rank in range(ranks)]
    dealt = [total // ranks + (rank < total % ranks) for rank in range(ranks)]
    return tuple(Balance(min(shares), max(shares), shares.count(0)) for shares in (dealt, whole))  # type: ignore[return-value]


def lines(found: Report, ranks: int) -> list[str]:
    """The report as text, a fact a line."""
    counts = [shard.samples for shard in found.shards]
    shard_bytes = [shard.image_bytes for shard in found.shards]
    ours, whole = balance(counts, ranks)
    result = [
        f"shards      {len(found.shards)}; samples a shard {_spread(counts)}; image bytes a shard {_spread(shard_bytes)}",
        f"samples     {found.samples}, {found.questions} questions, {found.unanswerable} of them beyond the image",
        f"splits      {_counted(found.splits, none='none given')}",
        f"sources     {_counted(found.sources)}",
        f"images      {_counted(found.formats)}; bytes {_spread(found.image_bytes)}",
        f"pixels      {_counted(found.sizes, most=5)}",
        f"keys        {found.keys[0]} ... {found.keys[1]}",
        f"{ranks} ranks     each reads {_range(ours)} samples an epoch here; dealt by whole shards it would be {_range(whole)}"
        + (f", and {whole.idle} of them would have none" if whole.idle else ""),
    ]
    if found.never_read:
        result.append(f"never read  members {_counted(found.never_read)}")
    share = len(found.problems) / max(1, found.samples + len(found.problems))
    result.append(
        f"problems    {len(found.problems)} ({share:.2%}); source.max_bad_share={_up(share):g} would tolerate them" * bool(found.problems)
    )
    result += [_problem(problem) for problem in found.problems[:LISTED]]
    if len(found.problems) > LISTED:
        result.append(f"            ... and {len(found.problems) - LISTED} more")
    if not found.problems:
        result[-1] = "problems    none"
    return result


def _problem(problem: Problem) -> str:
    return f"            {problem.shard} at byte {problem.offset}" + f", sample {problem.key!r}" * bool(problem.key) + f": {problem.reason}"


def _up(share: float) -> float:
    """The share, rounded up to three figures after the point."""
    return -(-share * 1000 // 1) / 1000


def _range(shares: Balance) -> str:
    return str(shares.most) if shares.fewest == shares.most else f"{shares.fewest} to {shares.most}"


def _spread(numbers: Iterable[int]) -> str:
    """Least, median, most."""
    listed = list(numbers)
    return f"{min(listed)} / {median(listed):g} / {max(listed)} (least / median / most)" if listed else "none"


def _counted(counts: dict[str, int], *, most: int = 12, none: str = "none") -> str:
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name or none} {count}" for name, count in ranked[:most])
    return text + (f" and {len(ranked) - most} more" if len(ranked) > most else "") or "none"
