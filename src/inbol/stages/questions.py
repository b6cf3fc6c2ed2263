"""What the record stages share: all questions of a shard, and the loop over shards whose finished files are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from inbol.contracts import Question
from inbol.shards.files import read_records, write_records
from inbol.shards.reader import read_shard
from inbol.stages.job import Job

T = TypeVar("T")


def questions_of(vqa: Path, unsolvable: Path, name: str) -> dict[str, Question]:
    """Every question of the shard with stem `name`, by key: the answerable ones of each image, then those beyond the images.

    Raises:
        ValueError: two questions with one key.
    """
    questions: dict[str, Question] = {}
    answerable = (question for sample in read_shard(vqa, name) for question in sample.questions)
    beyond: Iterable[Question] = read_records(unsolvable / f"{name}.jsonl", Question)
    for group in (answerable, beyond):
        for question in group:
            if question.key in questions:
                raise ValueError(f"{name}: two questions have the key {question.key!r}; keys must be unique in the source")
            questions[question.key] = question
    return questions


def record_names(folder: Path) -> list[str]:
    """Sorted stems of the record files (`<split>-NNNNNN.jsonl`) in a stage folder. Raises ValueError when there are none."""
    names = sorted(path.stem for path in folder.glob("*-[0-9]*.jsonl"))
    if not names:
        raise ValueError(f"{folder} holds no record files (<split>-NNNNNN.jsonl); has its stage finished?")
    return names


def write_each(job: Job, names: Iterable[str], build: Callable[[str], Iterable[Any]], cls: type[T]) -> Iterator[tuple[str, list[T]]]:
    """For each shard: write `build(name)` to `<name>.jsonl` unless that file exists, and yield (name, the file's records)."""
    for name in names:
        path = job.out / f"{name}.jsonl"
        if not path.exists():
            write_records(path, build(name))
        yield name, read_records(path, cls)


def records_by_key(folder: Path, name: str, cls: type[T], questions: Mapping[str, Question]) -> dict[str, T]:
    """The records of a shard by question key; exactly one for each of `questions`.

    Raises:
        ValueError: a record without question, a question without record, or a key that occurs twice.
    """
    records = read_records(folder / f"{name}.jsonl", cls)
    by_key = {record.key: record for record in records}  # type: ignore[attr-defined]
    if len(by_key) != len(records) or by_key.keys() != questions.keys():
        odd = sorted(by_key.keys() ^ questions.keys())
        raise ValueError(
            f"{folder / name}.jsonl holds {len(records)} records of {len(by_key)} questions, not one for each of the shard's "
            f"{len(questions)} questions (differ: {', '.join(odd[:3]) or 'keys twice'}); were both made from the same folders?"
        )
    return by_key
