"""What the page offers to ask: images of the test split with some of their questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inbol.contracts import UNSHOWN, Question
from inbol.demo.find import Data
from inbol.shards.files import read_records
from inbol.shards.reader import read_shard, shard_names

PER_SIDE = 3
"""Questions of an image on each side of the boundary."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image with questions, the answerable ones first."""

    key: str
    image: bytes
    """As stored."""
    questions: tuple[Question, ...]


def examples_of(data: Data | None, count: int) -> list[Example]:
    """`count` images spread evenly over the first test shard, the least degraded first; none without data or test split."""
    names = shard_names(data.vqa, ["test"]) if data and count else []
    if not data or not names:
        return []
    beyond = _beyond(data.unsolvable / f"{names[0]}.jsonl") if data.unsolvable else {}
    samples = [sample for sample in read_shard(data.vqa, names[0]) if not sample.meta.get(UNSHOWN)]
    samples.sort(key=lambda sample: int(sample.meta.get("level", 0)))  # stable
    chosen = [samples[n * len(samples) // count] for n in range(count)] if len(samples) > count else samples
    return [Example(s.key, s.image, (*offered(s.questions), *offered(beyond.get(s.key, [])))) for s in chosen]


def offered(questions: Iterable[Question], limit: int = PER_SIDE) -> tuple[Question, ...]:
    """The first `limit` questions, of as many kinds as there are: the first of every kind, then the second of every kind, and so on."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for place, question in enumerate(questions):
        turns.append((seen[question.kind], place, question))
        seen[question.kind] += 1
    return tuple(question for _, _, question in sorted(turns, key=lambda turn: turn[:2])[:limit])


def _beyond(records: Path) -> dict[str, list[Question]]:
    """Questions beyond the image by image key."""
    found: dict[str, list[Question]] = defaultdict(list)
    for question in read_records(records, Question):
        found[question.image_key].append(question)
    return found
