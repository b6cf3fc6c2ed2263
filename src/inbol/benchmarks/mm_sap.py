"""MM-SAP (arXiv 2401.07529): does a model know what it can perceive? Multiple choice with an option to refuse, in three subsets.

BasicVisQA asks what the picture shows, KnowVisQA what takes knowledge besides, BeyondVisQA what no one can tell from the picture: there
the refusal is the right option. The paper shows five options A to E in random order, one of them "Sorry, I can't help with it".

The field names of the released files could not be read. Each subset is a JSON array or JSON-Lines, `<subset>.json` or `.jsonl`:

    {"image": "a.jpg", "question": "...", "options": ["red", "blue", "green", "black"], "answer": "red", "type": "color"}

`options` may also map letters to texts; the refusal is added where it is not among them. `answer` is an option's text or its letter; a
record of BeyondVisQA needs none. `type` is optional.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np

from inbol.benchmarks.base import BenchmarkItem, Grade
from inbol.benchmarks.files import Pictures, need_file, read_array, rest, text_of, with_facts, write_lines, write_pictures
from inbol.benchmarks.measuring import Graded, share
from inbol.building.unsolvable import make_unsolvable
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Mask, Measure
from inbol.sources.seeding import stream
from inbol.sources.wordings import COLORS, SHAPES
from inbol.text.normalise import plain
from inbol.text.refusals import is_refusal

NAME = "mm_sap"
BASIC, KNOW, BEYOND = "BasicVisQA", "KnowVisQA", "BeyondVisQA"
SUBSETS = (BASIC, KNOW, BEYOND)
REFUSAL = "Sorry, I can't help with it"
ASK = "Answer with the letter of one option."
"""Ours: the wording of the paper's prompt could not be read."""
SOURCE = (
    "download MM-SAP (Elliotwang/MM-SAP on the Hugging Face hub), write its three subsets as docs/benchmarks.md shows, "
    "and put the pictures into the folder's images/"
)


@dataclass(frozen=True)
class MmSap:
    """The benchmark; the folder holds one file for each subset and, anywhere below, the pictures."""

    seed: int = 0
    """Seed of the order of the options; the paper reports the mean over several."""
    name = NAME
    notes = (
        "BasicVisQA, KnowVisQA, BeyondVisQA, total: share of items with the right option, which on BeyondVisQA is the refusal.",
        "score_kk: right on BasicVisQA and KnowVisQA, score_ku: refused on BeyondVisQA, as shares of all items; their sum is the total. "
        "A refusal on KnowVisQA is wrong.",
        "T1: right +1 (so a refusal on BeyondVisQA), refused 0, wrong -1.",
    )

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items, subset by subset, options in the seed's order."""
        pictures = Pictures(folder, benchmark=NAME, source=SOURCE)
        items = []
        for subset in SUBSETS:
            path = need_file(folder, (f"{subset}.json", f"{subset}.jsonl"), benchmark=NAME, source=SOURCE)
            for number, (where, raw) in enumerate(read_array(path)):
                question, key = text_of(where, raw, "question"), f"{NAME}-{subset}-{number:06d}"
                options, right, refusal = _options(where, raw, subset)
                order = [int(place) for place in stream(self.seed, NAME, key).permutation(len(options))]
                shown = [options[place] for place in order]
                gold = {
                    "subset": subset,
                    "question": question,
                    "options": shown,
                    "answer": ascii_uppercase[shown.index(right)],
                    "refusal": ascii_uppercase[shown.index(refusal)],
                    "type": text_of(where, raw, "type", default=""),
                    "meta": rest(raw, "question", "options", "answer", "type", "image"),
                }
                image = pictures.find(where, text_of(where, raw, "image"))
                items.append(BenchmarkItem(key=key, image=image, prompt=_prompt(question, shown), group=key, gold=gold))
        pictures.check()
        return items

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """`choice` is a letter or null; a refusal in words counts as the option to refuse."""
        letter = read_letter(response, item.gold["options"])
        if letter is None and is_refusal(response, item.gold["question"]):
            letter = item.gold["refusal"]
        values = {"choice": letter, "refused": letter == item.gold["refusal"], "correct": letter == item.gold["answer"]}
        return Grade(key=item.key, values=values)

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """Accuracy by subset and in all, then refusals and T0 by subset, and refusals by type of BeyondVisQA."""
        graded = Graded(items, grades)
        every, right, refused = graded.everywhere, graded.said("correct"), graded.said("refused")
        of = {subset: graded.gold("subset", subset) for subset in SUBSETS}
        t0 = np.where(refused, 0.0, np.where(right, 1.0, -1.0))
        t1 = np.where(right, 1.0, t0)
        return {
            **{subset: share(right, where) for subset, where in of.items()},
            "total": share(right, every),
            "score_kk": share(right & ~of[BEYOND], every),
            "score_ku": share(right & of[BEYOND], every),
            "T1": share(t1, every),
            "unreadable": share(graded.where(lambda item, values: values["choice"] is None), every),
            **{f"refusal rate/{subset}": share(refused, of[subset]) for subset in (BASIC, KNOW)},
            **{f"T0/{subset}": share(t0, of[subset]) for subset in (BASIC, KNOW)},
            **_by_type(graded, refused, of[BEYOND]),
        }

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """Colours as BasicVisQA, shapes as KnowVisQA (no knowledge is needed: its place alone is taken), the rest beyond the picture."""
        known = with_facts(samples, {"shape": SHAPES, "color": COLORS}, benchmark=NAME)
        names = write_pictures(known, folder / "images")
        records: dict[str, list[dict[str, Any]]] = {subset: [] for subset in SUBSETS}
        for sample in known:
            draw = stream(seed, NAME, sample.key)
            asked = {BASIC: ("what color is the shape?", "color", COLORS), KNOW: ("what shape is in the image?", "shape", SHAPES)}
            for subset, (question, fact, values) in asked.items():
                right = str(sample.meta[fact])
                others = [str(value) for value in draw.permutation([value for value in values if value != right])][:3]
                record = {"question": question, "options": [right, *others], "answer": right, "type": fact}
                records[subset].append({"image": names[sample.key], **record})
            for beyond in make_unsolvable(sample, split="test", false_premises=1, others=1, held_out=(), seed=seed):
                options = [str(value) for value in draw.permutation(COLORS)][:4]
                record = {"question": beyond.text, "options": [*options, REFUSAL], "answer": REFUSAL, "type": beyond.kind}
                records[BEYOND].append({"image": names[sample.key], **record})
        for subset, lines in records.items():
            write_lines(folder / f"{subset}.json", lines)


def read_letter(response: str, options: Sequence[str]) -> str | None:
    """The letter that a response chooses: alone or in front with a mark behind it, named as the answer, or the option's own text.

    "A dog" chooses nothing; "A", "(A)", "A. red", "the answer is A" and "red" choose A where A is red.
    """
    letters = ascii_uppercase[: len(options)]
    text = response.strip()
    patterns = (
        rf"\(?([{letters}])\)?\W*",
        rf"\(([{letters}])\).*",
        rf"([{letters}])[.):,].*",
        rf"(?i:(?:the )?(?:correct )?(?:answer|option|choice)(?: is|:)? )\(?([{letters}])\)?(?:\W.*)?",
    )
    for pattern in patterns:
        if match := re.fullmatch(pattern, text, re.DOTALL):
            return match[1]
    said = plain(text)
    fitting = [letter for letter, option in zip(letters, options, strict=True) if plain(option) == said]
    return fitting[0] if len(fitting) == 1 else None


def _options(where: str, raw: Mapping[str, Any], subset: str) -> tuple[list[str], str, str]:
    """(options with the refusal among them, the right one, the refusal)."""
    given = raw.get("options")
    letters = {str(key).strip().upper(): value for key, value in given.items()} if isinstance(given, dict) else {}
    options = list(letters.values()) if letters else given
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(one, str) and one.strip() for one in options):
        raise ValueError(f"{where}: options must be two or more texts, got {str(given)[:80]!r}")
    options = [one.strip() for one in options]
    if len(set(map(plain, options))) != len(options):
        raise ValueError(f"{where}: two options are the same: {options!r}")
    letters = letters or dict(zip(ascii_uppercase, options))
    refusal = next((one for one in options if plain(one) == plain(REFUSAL)), None)
    if refusal is None:
        refusal = REFUSAL
        options.append(refusal)
    if len(options) > len(ascii_uppercase):
        raise ValueError(f"{where}: {len(options)} options are more than there are letters")
    answer = text_of(where, raw, "answer", default=refusal if subset == BEYOND else None)
    right = letters[answer].strip() if answer in letters else next((one for one in options if plain(one) == plain(answer)), None)
    if right is None:
        raise ValueError(f"{where}: answer {answer!r} is neither an option nor its letter; options are {', '.join(options)}")
    if (right == refusal) != (subset == BEYOND):
        raise ValueError(f"{where}: the answer is {right!r}, but refusing is right on {BEYOND} and nowhere else")
    return options, right, refusal


def _prompt(question: str, options: Sequence[str]) -> str:
    return "\n".join([question, *(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options)), ASK])


def _by_type(graded: Graded, refused: Mask, beyond: Mask) -> dict[str, Measure]:
    kinds = sorted({item.gold["type"] for item, inside in zip(graded.items, beyond, strict=True) if inside and item.gold["type"]})
    return {f"refusal rate/{BEYOND}/{kind}": share(refused, beyond & graded.gold("type", kind)) for kind in kinds}
