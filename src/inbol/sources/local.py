"""Your own data: a folder with `questions.jsonl` and image files (PNG, JPEG or WebP). One raw record, one line:

    {"image": "photos/a.png", "question": "What is on the table?", "answers": ["a cup", "cup"]}

| field | |
| --- | --- |
| `image` | path of the image inside the folder |
| `question` | the text shown to the model |
| `answers` | accepted answers, most common first; or `answer`, a single one |
| `split` | optional: `pretrain`, `align-train`, `align-val` or `test`, the same for all questions about an image |
| `id` | optional: a unique name of the question (letters, digits, `-`, `_`) |
| `kind` | optional: the question type, for the tables; one of `UNSOLVABLE_KINDS` where the question is not answerable |
| `answerable` | optional: false for a question beyond the image, which then has no answers |

Images without a split are shared out by a seeded shuffle, with the configured split sizes as proportions.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from inbol.contracts import SPLITS, Outcome, Question, VqaSample
from inbol.sources.degrade import Level, degraded_png, level_meta
from inbol.sources.images import decode_image, probe_image
from inbol.sources.questions import FIELDS, check_question
from inbol.sources.seeding import stream
from inbol.text.match import grade_response

NAME = "local"
SHOWN_MISTAKES = 20
"""Mistakes listed in the one error message; the others are counted."""

_FIELDS = ("image", *FIELDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    key: str
    path: Path
    format: str
    split: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class LocalSource:
    """A folder of the user's data. The first access checks everything; ValueError then lists every mistake with file and line."""

    folder: Path
    """Holds `questions.jsonl`; the images' paths are relative to it."""
    seed: int = 0
    """Seed of the split and of the degradations."""
    sizes: dict[str, int]
    """Relative sizes of the splits, for images whose split is not given."""
    levels: tuple[Level, ...] = (Level(),)
    """Degradation levels; each image is given one at random. One undegraded level leaves the files as they are."""

    def splits(self) -> dict[str, list[str]]:
        """Keys of the images by split, in the order they are written.

        Raises:
            ValueError: there are mistakes in the folder.
        """
        result: dict[str, list[str]] = {split: [] for split in SPLITS}
        for image in self._images.values():
            if image.split:
                result[image.split].append(image.key)
        free = [image.key for image in self._images.values() if not image.split]
        for split, keys in share_out(free, self.sizes, seed=self.seed, name=NAME).items():
            result[split] += keys
        return result

    def build(self, split: str, key: str) -> VqaSample:
        """The sample of one image of `split`."""
        image = self._images[key]
        data, extension = image.path.read_bytes(), image.format
        level = int(stream(self.seed, key, "level").integers(len(self.levels)))
        if split != "pretrain" and self.levels[level] != Level():
            data, extension = degraded_png(decode_image(data), self.levels[level], stream(self.seed, key, "degrade")), "png"
        return VqaSample(
            key=key,
            image=data,
            image_format=extension,
            split=split,
            source=NAME,
            questions=image.questions,
            meta={**level_meta(self.levels, level), "shape": "", "color": ""},
        )

    @cached_property
    def _images(self) -> dict[str, _Image]:
        return _read(self.folder)


def grade(question: Question, text: str) -> Outcome:
    """The outcome of the response `text`."""
    return grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text)


def _read(folder: Path) -> dict[str, _Image]:
    """The images by key, every line and every header checked. Raises ValueError with all mistakes."""
    file = folder / "questions.jsonl"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; a local source is a folder with questions.jsonl and images")
    mistakes: list[str] = []
    lines: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            raw = _record(line)
            lines[raw["image"]].append((number, raw))
        except ValueError as error:
            mistakes.append(f"{file}:{number}: {error}")
    images: dict[str, _Image] = {}
    ids: dict[str, int] = {}
    names: dict[str, str] = {}
    for name, records in lines.items():

        def report(number: int, error: str) -> None:
            mistakes.append(f"{file}:{number}: {error}")

        key = re.sub(r"[^A-Za-z0-9_\-]+", "-", name)
        if names.setdefault(key, name) != name:
            report(records[0][0], f"images {names[key]!r} and {name!r} would have the same key {key!r}; rename one")
            continue
        splits = {raw.get("split", "") for _, raw in records}
        if len(splits) > 1:
            report(records[0][0], f"image {name!r} is in several splits: {', '.join(sorted(split or 'none' for split in splits))}")
        try:
            path, extension = _image(folder, name)
        except ValueError as error:
            report(records[0][0], str(error))
            continue
        questions = _questions(key, records, ids, report)
        images[key] = _Image(key=key, path=path, format=extension, split=records[0][1].get("split", ""), questions=questions)
    if not lines and not mistakes:
        mistakes.append(f"{file}: has no records")
    if mistakes:
        more = len(mistakes) - SHOWN_MISTAKES
        shown = "\n".join(mistakes[:SHOWN_MISTAKES]) + (f"\n... and {more} more" if more > 0 else "")
        raise ValueError(f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)} in {folder}; nothing was written:\n{shown}")
    return images


def _record(line: bytes) -> dict[str, Any]:
    """One checked line, with `answers` a list of texts. Raises ValueError saying what is wrong."""
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"must be a JSON object, got {type(raw).__name__}")
    if unknown := sorted(set(raw) - set(_FIELDS)):
        raise ValueError(f"unknown field {', '.join(unknown)}; fields are {', '.join(_FIELDS)}")
    if not isinstance(raw.get("image", ""), str):
        raise ValueError(f"image must be of type str, got {raw['image']!r}")
    if not raw.get("image", "").strip():
        raise ValueError("lacks image")
    return check_question(raw)


def _image(folder: Path, name: str) -> tuple[Path, str]:
    """(path, extension) of the image `name`, its header checked. Raises ValueError."""
    path = (folder / name).resolve()  # follows links too, so that nothing outside is read through one
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise ValueError(f"image {name!r} lies outside the folder")
    if not path.is_file():
        raise ValueError(f"image {name!r} does not exist")
    try:
        return path, probe_image(path.read_bytes())[0]
    except ValueError as error:
        raise ValueError(f"image {name!r}: {error}") from None


def share_out(keys: Sequence[str], sizes: dict[str, int], *, seed: int, name: str) -> dict[str, list[str]]:
    """Images without a split, by split: a shuffle seeded by (seed, name), with the split sizes as proportions.

    Raises:
        ValueError: there are images and all sizes are 0.
    """
    total = sum(sizes.get(split, 0) for split in SPLITS)
    if keys and total <= 0:
        raise ValueError(f"{len(keys)} images have no split and all split sizes are 0; set a size or give every question a split")
    order = stream(seed, name, "split").permutation(len(keys))
    result: dict[str, list[str]] = {}
    start = cumulated = 0
    for split in SPLITS:
        cumulated += sizes.get(split, 0)
        end = round(len(keys) * cumulated / total) if total else 0
        result[split] = [keys[number] for number in order[start:end]]
        start = end
    return result


def _questions(
    key: str, records: list[tuple[int, dict[str, Any]]], ids: dict[str, int], report: Callable[[int, str], None]
) -> tuple[Question, ...]:
    questions = []
    for position, (number, raw) in enumerate(records):
        question_key = raw.get("id", f"{key}-q{position:02d}")
        if ids.setdefault(question_key, number) != number:
            report(number, f"id {question_key!r} was used before, on line {ids[question_key]}")
        questions.append(
            Question(
                key=question_key,
                image_key=key,
                text=raw["question"],
                answers=tuple(raw["answers"]),
                answerable=raw.get("answerable", True),
                kind=raw.get("kind", ""),
            )
        )
    return tuple(questions)
