"""Published VQA data sets in their original files: what the modules of the single data sets share.

A module of a data set is a `Format`: it reads its files into raw records and turns one record into a question, or says why the question is
left out. Checking, splitting and building are here. Images are split as wholes: a published test part, where one is given, is `test`, and
an image that stands in both parts is refused; otherwise `test` is drawn from the images like the other splits.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from inbol.contracts import SPLITS, Outcome, Question, VqaSample
from inbol.sources.degrade import Level, degraded_png, level_meta
from inbol.sources.images import decode_image, probe_image
from inbol.sources.seeding import stream
from inbol.text.match import grade_response

SHOWN_MISTAKES = 20
"""Mistakes listed in the one error message; the others are counted."""
NO_AGREEMENT = "no answer that enough annotators agree on"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The files of one published part, such as val2014."""

    annotations: Path
    questions: Path | None
    """A file of its own in VQAv2 alone."""
    images: Path
    """Folder that the images' names are relative to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How records become questions; a data set looks at those that concern it."""

    agreeing: int = 3
    """Annotators who must have given an answer for it to be accepted: the number at which the VQA accuracy of an answer is 1."""
    answer_form: str = "direct"
    """A-OKVQA: `direct` or `choice`."""
    unanswerable_kind: str = "context-dependent"
    """VizWiz and VQAv2-IDK: kind of the questions beyond the image."""
    min_idk: int = 3
    """VQAv2-IDK: annotators who must have said that they do not know."""
    not_idk: tuple[str, ...] = ("none",)
    """VQAv2-IDK: keywords that do not count, because they are answers too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as a data set tells it."""

    id: str
    """Unique in the data set."""
    image: str
    """Path of the image below `Part.images`."""
    text: str
    answers: tuple[str, ...]
    """Accepted answers, most common first; empty exactly when it is beyond the image."""
    kind: str
    reason: str = ""


class Format(Protocol):
    """The files of one data set."""

    @property
    def name(self) -> str:
        """Name of the source."""
        ...

    @property
    def download(self) -> str:
        """What to download from where, for the message about a file that is not there."""
        ...

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """(file and record number, raw record). Raises ValueError for a file that is missing or has another form."""
        ...

    def question(self, raw: Any, options: Options) -> Asked | str:
        """The question of a record, or why it is left out. Raises ValueError for a record that is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class _Placed:
    """A question with the place it came from."""

    where: str
    part: int
    asked: Asked


@dataclass(frozen=True, kw_only=True)
class PublishedSource:
    """A published data set, split by image. The first access reads the files; ValueError then lists the mistakes with file and record."""

    format: Format
    parts: tuple[Part, ...]
    """The part that everything comes from, or that and the one that `test` comes from."""
    seed: int = 0
    """Seed of the split, of the degradations and of the questions drawn."""
    sizes: Mapping[str, int]
    """Images by split."""
    options: Options = Options()
    questions_per_image: int = 0
    """At most this many questions of an image, drawn by seed; 0 takes all."""
    levels: tuple[Level, ...] = (Level(),)
    """Degradation levels; each image is given one at random. One undegraded level leaves the files as they are."""

    def splits(self) -> dict[str, list[str]]:
        """Keys of the images by split, in the order they are written.

        Raises:
            ValueError: mistakes in the files, more images asked for than there are, or an image file that is not there.
        """
        pools = [sorted(key for key, of_image in self._images.items() if of_image[0].part == part) for part in range(len(self.parts))]
        names = [SPLITS] if len(pools) == 1 else [SPLITS[:-1], SPLITS[-1:]]
        result: dict[str, list[str]] = {}
        for part, pool, splits in zip(self.parts, pools, names, strict=True):
            asked = sum(self.sizes.get(split, 0) for split in splits)
            if asked > len(pool):
                raise ValueError(
                    f"{part.annotations} has {len(pool)} images with usable questions; asked for {asked} ({', '.join(splits)}); "
                    f"lower source.*_images"
                )
            order = iter(stream(self.seed, self.format.name, splits[0], "split").permutation(len(pool)))
            for split in splits:
                result[split] = [pool[next(order)] for _ in range(self.sizes.get(split, 0))]
        self._check_files([key for keys in result.values() for key in keys])
        return result

    def build(self, split: str, key: str) -> VqaSample:
        """The sample of one image of `split`. Raises ValueError, naming the record, for an image that cannot be read."""
        placed = self._images[key]
        try:
            data = self._path(placed[0]).read_bytes()
            extension = probe_image(data)[0]
            level = int(stream(self.seed, key, "level").integers(len(self.levels)))
            if split != "pretrain" and self.levels[level] != Level():
                data, extension = degraded_png(decode_image(data), self.levels[level], stream(self.seed, key, "degrade")), "png"
        except (OSError, ValueError) as error:
            raise ValueError(f"{placed[0].where}: image {placed[0].asked.image!r}: {error}") from None
        return VqaSample(
            key=key,
            image=data,
            image_format=extension,
            split=split,
            source=self.format.name,
            questions=tuple(self._question(key, one.asked) for one in self._drawn(key, placed)),
            meta={**level_meta(self.levels, level), "shape": "", "color": ""},
        )

    def facts(self) -> dict[str, Any]:
        """Questions read, and left out by reason, for the manifest."""
        kept, left_out = self._read
        return {"questions_read": len(kept) + left_out.total(), "questions_left_out": dict(sorted(left_out.items()))}

    @cached_property
    def _images(self) -> dict[str, list[_Placed]]:
        images: dict[str, list[_Placed]] = defaultdict(list)
        for placed in self._read[0]:
            images[self._image_key(placed.asked.image)].append(placed)
        for key, of_image in images.items():
            if len({one.part for one in of_image}) > 1:
                other = next(one for one in of_image if one.part != of_image[0].part)
                raise ValueError(
                    f"image {key!r} stands in both parts: {of_image[0].where} and {other.where}; an image belongs to one split"
                )
            if len({one.asked.image for one in of_image}) > 1:
                raise ValueError(f"{of_image[0].where}: two images have the key {key!r}; their names differ in other signs alone")
        return dict(images)

    @cached_property
    def _read(self) -> tuple[list[_Placed], Counter[str]]:
        """Every usable question of every part, and how many were left out by reason. Raises ValueError with the mistakes."""
        kept: list[_Placed] = []
        left_out: Counter[str] = Counter()
        mistakes: list[str] = []
        seen: dict[str, str] = {}
        for number, part in enumerate(self.parts):
            for where, raw in self._rows(part):
                try:
                    asked = self._checked(raw)
                except ValueError as error:
                    mistakes.append(f"{where}: {error}")
                    continue
                if isinstance(asked, str):
                    left_out[asked] += 1
                elif seen.setdefault(asked.id, where) != where:
                    mistakes.append(f"{where}: question id {asked.id!r} was used before, in {seen[asked.id]}")
                else:
                    kept.append(_Placed(where, number, asked))
        if mistakes:
            more = len(mistakes) - SHOWN_MISTAKES
            shown = "\n".join(mistakes[:SHOWN_MISTAKES]) + (f"\n... and {more} more" if more > 0 else "")
            raise ValueError(f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)} in {self.format.name}; nothing was written:\n{shown}")
        return kept, left_out

    def _rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        try:
            yield from self.format.rows(part)
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename}: no such file; {self.format.download}") from None

    def _checked(self, raw: Any) -> Asked | str:
        if not isinstance(raw, dict):
            raise ValueError(f"a record must be an object, got {type(raw).__name__}")
        asked = self.format.question(raw, self.options)
        if isinstance(asked, Asked):
            if not asked.text.strip():
                raise ValueError("question is empty")
            name = Path(asked.image)
            if name.is_absolute() or ".." in name.parts:
                raise ValueError(f"image {asked.image!r} lies outside the folder")
        return asked

    def _check_files(self, keys: Sequence[str]) -> None:
        missing = [self._images[key][0] for key in keys if not self._path(self._images[key][0]).is_file()]
        if missing:
            first = missing[0]
            raise ValueError(
                f"{self._path(first)}: no such file, named in {first.where}; {len(missing)} of {len(keys)} images are not there; "
                f"{self.format.download}"
            )

    def _path(self, placed: _Placed) -> Path:
        return self.parts[placed.part].images / placed.asked.image

    def _image_key(self, image: str) -> str:
        return f"{self.format.name}-{_safe(Path(image).stem)}"

    def _drawn(self, key: str, placed: list[_Placed]) -> list[_Placed]:
        limit = self.questions_per_image
        if not limit or len(placed) <= limit:
            return placed
        return [placed[n] for n in sorted(stream(self.seed, key, "questions").choice(len(placed), size=limit, replace=False))]

    def _question(self, key: str, asked: Asked) -> Question:
        return Question(
            key=f"{self.format.name}-q{_safe(asked.id)}",
            image_key=key,
            text=asked.text,
            answers=asked.answers,
            answerable=bool(asked.answers),
            kind=asked.kind,
            reason=asked.reason,
        )


def grade(question: Question, text: str) -> Outcome:
    """The outcome of the response `text`."""
    return grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-]+", "-", name)


def load(path: Path, kind: type[T]) -> T:
    """The JSON of a file. Raises FileNotFoundError, and ValueError when it is not JSON or not of this kind."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path}: must hold a JSON {_NAMES[kind]}, got {_NAMES.get(type(value), type(value).__name__)}")
    return value


_NAMES: dict[type, str] = {dict: "object", list: "list", str: "text", int: "number", bool: "truth value"}


def numbered(path: Path, records: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """(file and number from 0 on, record)."""
    for number, raw in enumerate(records):
        yield f"{path}: record {number}", raw


def take(raw: Mapping[str, Any], field: str, kind: type[T], *, hint: str = "") -> T:
    """The value of a field. Raises ValueError when there is none (`hint` says why that may be), or one of another type."""
    if field not in raw:
        raise ValueError(f"lacks {field}" + (f"; {hint}" if hint else ""))
    value = raw[field]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{field} must be a {_NAMES.get(kind, kind.__name__)}, got {value!r:.80}")
    return value


def texts(raw: Mapping[str, Any], field: str, *, hint: str = "") -> list[str]:
    """The texts of a list field, or their `answer`s where it is one of objects. Raises ValueError for another form."""
    values = [one.get("answer") if isinstance(one, dict) else one for one in take(raw, field, list, hint=hint)]
    if any(not isinstance(value, str) for value in values):
        raise ValueError(f"{field} must be texts, or objects with `answer`, got {raw[field]!r:.80}")
    return [str(value) for value in values]


def agreed(answers: Sequence[str], agreeing: int) -> tuple[str, ...]:
    """The answers that at least `agreeing` annotators gave, most common first, then in the order they were given."""
    counts = Counter(stripped for answer in answers if (stripped := answer.strip()))
    return tuple(answer for answer, count in counts.most_common() if count >= agreeing)
