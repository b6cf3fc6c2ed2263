"""easy-VQA (package `easy-vqa`, MIT): 4,000 + 1,000 images of 64 x 64 pixels, each one shape in one colour, and 48,248 questions.

One raw record of `data/train/questions.json`, [question, answer, image id], about `data/train/images/0.png`:

    ["does the image not contain a gray shape?", "yes", 0]

The data set's training images are shared out over `pretrain`, `align-train` and `align-val`; its test images are `test`. Images get
a seeded degradation level; `pretrain` stores them clean and only notes the level, because the base's training draws the noise anew at
every visit. `pretrain` also has yes/no questions about what is there, which the data set seldom asks.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from inbol.contracts import Outcome, Question, VqaSample
from inbol.sources.degrade import Level, degraded_png, level_meta
from inbol.sources.images import decode_image
from inbol.sources.seeding import stream
from inbol.sources.wordings import COLORS, SHAPES, Meaning, parse, render, reword, with_premise
from inbol.sources.wordings import answer as answer_to
from inbol.text.match import grade_response

NAME = "easy-vqa"
PREMISE_SHARE = 0.5
"""Share of the reworded "what shape" and "what color" questions that name what is there ("what color is the circle?" about a circle):
without them nearly every question that names something would be a false premise, and refusing could be learnt from the words alone."""
UNSEEN_SHARE = 1 / 3
"""Share of an evaluation image's questions that are asked once more in an unseen wording."""

Raw = tuple[str, str]
"""(question, answer)."""

_PRESENT = {"color": ("has-color", "no-color"), "shape": ("has-shape", "no-shape")}


@dataclass(frozen=True, kw_only=True)
class EasyVqa:
    """The data set with a split, degradations and wordings. Raises ValueError when more images are asked for than there are."""

    seed: int
    """Seed of the split, the levels, the degradations and the wordings."""
    sizes: dict[str, int]
    """Images by split; those of `pretrain` are counted before withheld colours are taken out."""
    withheld_colors: tuple[str, ...] = ()
    """Colours without an image and without a question in `pretrain`."""
    levels: tuple[Level, ...] = (Level(),)
    """Degradation levels; each image is given one at random."""
    paraphrase_share: float = 0.0
    """Share of the questions that are reworded (with seen wordings), in [0, 1]."""
    yes_no_per_image: int = 100
    """At most this many yes/no questions per image outside `pretrain`, drawn by seed."""
    root: Path | None = None
    """Folder `data` of the package; None finds the installed one."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.withheld_colors) - set(COLORS)):
            raise ValueError(f"withheld_colors: {', '.join(unknown)} is no easy-VQA colour; colours are {', '.join(COLORS)}")

    def splits(self) -> dict[str, list[str]]:
        """Keys of the images by split, in the order they are written."""
        order = [int(number) for number in stream(self.seed, NAME, "split").permutation(sorted(self._raw["train"]))]
        train = {split: self.sizes.get(split, 0) for split in ("pretrain", "align-train", "align-val")}
        test = sorted(self._raw["test"])
        if sum(train.values()) > len(order) or self.sizes.get("test", 0) > len(test):
            raise ValueError(
                f"easy-VQA has {len(order)} training and {len(test)} test images; asked for {sum(train.values())} "
                f"({' + '.join(f'{size} {split}' for split, size in train.items())}) and {self.sizes.get('test', 0)} test"
            )
        result: dict[str, list[str]] = {}
        for split, size in train.items():
            numbers, order = order[:size], order[size:]
            if split == "pretrain":
                numbers = [number for number in numbers if self._may_pretrain(number)]
            result[split] = [image_key("train", number) for number in numbers]
        result["test"] = [image_key("test", number) for number in test[: self.sizes.get("test", 0)]]
        return result

    def build(self, split: str, key: str) -> VqaSample:
        """The sample of one image of `split`."""
        part, number = _part_and_number(key)
        raw = self._raw[part][number]
        data = (self._root / part / "images" / f"{number}.png").read_bytes()
        level = int(stream(self.seed, key, "level").integers(len(self.levels)))
        if split != "pretrain" and self.levels[level] != Level():
            data = degraded_png(decode_image(data), self.levels[level], stream(self.seed, key, "degrade"))
        return VqaSample(
            key=key,
            image=data,
            image_format="png",
            split=split,
            source=NAME,
            questions=self._questions(split, key, raw),
            meta={**level_meta(self.levels, level), "shape": _known(raw, SHAPES), "color": _known(raw, COLORS)},
        )

    def _questions(self, split: str, key: str, raw: list[Raw]) -> tuple[Question, ...]:
        rng = stream(self.seed, key, "wordings")
        asked = self._asked(split, key, raw)
        shown = {"color": _known(raw, COLORS), "shape": _known(raw, SHAPES)}
        questions = []
        for number, (text, answer) in enumerate(raw):
            meaning = parse(text)
            drawn, premised = rng.random(2) < (self.paraphrase_share, PREMISE_SHARE)  # drawn for every question, so that one's wording
            premised_meaning = with_premise(meaning, **shown) if premised else meaning  # leaves the next one's alone
            reworded = (
                reword(text, group="seen", rng=rng) if premised_meaning == meaning else render(premised_meaning, group="seen", rng=rng)
            )
            if number not in asked or (split == "pretrain" and meaning.color in self.withheld_colors):
                continue
            told = premised_meaning if drawn else meaning
            questions.append(_question(key, f"q{number:02d}", reworded if drawn else text, answer, told, "seen"))
        if split == "pretrain":
            rng = stream(self.seed, key, "present")
            for number, meaning in enumerate(_present(**shown)):
                words = render(meaning, group="seen", rng=rng)
                questions.append(_question(key, f"p{number}", words, answer_to(meaning, **shown), meaning, "seen"))
        if split == "align-train":
            rng = stream(self.seed, key, "second wordings")
            for number in sorted(asked):
                text, answer = raw[number]
                if parse(text).kind != "yes/no":
                    told = with_premise(parse(text), **shown)
                    words = reword(text, group="seen", rng=rng) if told == parse(text) else render(told, group="seen", rng=rng)
                    questions.append(_question(key, f"q{number:02d}-w", words, answer, told, "seen"))
        if split in ("align-val", "test"):
            rng = stream(self.seed, key, "unseen wordings")
            for number in sorted(rng.choice(sorted(asked), size=max(1, round(len(asked) * UNSEEN_SHARE)), replace=False)):
                text, answer = raw[number]
                words = reword(text, group="unseen", rng=rng)
                questions.append(_question(key, f"q{number:02d}-u", words, answer, parse(text), "unseen"))
        return tuple(questions)

    def _asked(self, split: str, key: str, raw: list[Raw]) -> set[int]:
        """Numbers of the questions that are asked: all in `pretrain`, else all but the yes/no questions above the limit."""
        yes_no = [number for number, (text, _) in enumerate(raw) if parse(text).kind == "yes/no"]
        if split == "pretrain":
            return set(range(len(raw)))
        dropped = stream(self.seed, key, "yes/no").permutation(yes_no)[self.yes_no_per_image :]
        return set(range(len(raw))) - {int(number) for number in dropped}

    def _may_pretrain(self, number: int) -> bool:
        """Neither in a withheld colour, as far as its questions tell, nor left without questions. An image whose colour they leave open may
        have a withheld one unless they deny it."""
        raw = self._raw["train"][number]
        color = _known(raw, COLORS)
        denied = {meaning.color for meaning, answer in _parsed(raw) if _denies(meaning, answer)}
        kept = any(parse(text).color not in self.withheld_colors for text, _ in raw)
        return kept and (color not in self.withheld_colors if color else set(self.withheld_colors) <= denied)

    @cached_property
    def _raw(self) -> dict[str, dict[int, list[Raw]]]:
        result = {}
        for part in ("train", "test"):
            images: dict[int, list[Raw]] = defaultdict(list)
            for text, answer, number in json.loads((self._root / part / "questions.json").read_text()):
                images[number].append((text, answer))
            result[part] = dict(images)
        return result

    @cached_property
    def _root(self) -> Path:
        if self.root is not None:
            return self.root
        import easy_vqa  # here, because a project with its own data need not have it

        return Path(easy_vqa.__file__).parent / "data"


def image_key(part: str, number: int) -> str:
    """Key of image `number` of the data set's own part `train` or `test`."""
    return f"{NAME}-{part}-{number:05d}"


def asks_what_is_there(question: Question) -> bool:
    """One of the yes/no questions that `pretrain` has beside the data set's own."""
    return question.template in (*_PRESENT["color"], *_PRESENT["shape"]) and question.key.rpartition("-")[2].startswith("p")


def grade(question: Question, text: str) -> Outcome:
    """The outcome of the response `text`."""
    return grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text)


def _part_and_number(key: str) -> tuple[str, int]:
    part, number = key.removeprefix(f"{NAME}-").split("-")
    return part, int(number)


def _question(key: str, suffix: str, text: str, answer: str, meaning: Meaning, wording: str) -> Question:
    return Question(
        key=f"{key}-{suffix}", image_key=key, text=text, answers=(answer,), kind=meaning.kind, wording=wording, template=meaning.name
    )


def _parsed(raw: list[Raw]) -> list[tuple[Meaning, str]]:
    return [(parse(text), answer) for text, answer in raw]


def _denies(meaning: Meaning, answer: str) -> bool:
    return meaning.kind == "yes/no" and (answer == "yes") == meaning.negated


def _present(*, color: str, shape: str) -> list[Meaning]:
    """Yes/no questions about what the image shows, as far as that is known. The data set asks about absent colours five times as often, and
    a base that has seen nothing else says "absent" without looking."""
    meanings = [Meaning(name, color=color) for name in _PRESENT["color"] if color]
    return meanings + [Meaning(name, shape=shape) for name in _PRESENT["shape"] if shape]


def _known(raw: list[Raw], values: tuple[str, ...]) -> str:
    """The image's colour or shape as its questions give it away (in an answer, or named and not denied); empty when they do not."""
    for meaning, answer in _parsed(raw):
        if answer in values:
            return answer
        named = meaning.color if values is COLORS else meaning.shape
        if named and not _denies(meaning, answer):
            return named
    return ""
