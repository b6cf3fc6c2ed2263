"""MUB, the multimodal uncertainty benchmark (arXiv 2411.02708): does an answer survive a misleading note?

Stage 1 asks plainly; stage 2 asks again with a hint (explicit, the record's `guide`) or with notes that argue (implicit, one by one, the
first k of them, the worst counts). MR(T->F) is the share of right answers that turn wrong, MR(F->T) the share of wrong ones that turn
right. The released scripts leave the hint out of stage 2, so that their explicit rates as run measure sampling noise; here the hint is
built in. The wording of the two system texts is ours; their content and the order of the parts are the authors'.

T->R is ours: the share of right answers that become a refusal under the note. It is neither misled nor right, so T->F, T->R and T->T add
up to 1. The `compat` parser does as the authors' scripts, which know no refusal.
"""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.mub_files import WHERE, MubRecord, read_folder
from inbol.benchmarks.mub_tiny import tiny_records
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Measure, Ratio
from inbol.shards.files import write_bytes
from inbol.sources.images import decode_image
from inbol.text.match import leading_yes_no
from inbol.text.normalise import normalise
from inbol.text.refusals import is_refusal

TIERS = {"low": 6, "medium": 9, "high": 12}
"""By the exact number of the authors' models that the hint misled; questions in between are in no tier, only in the rates over all."""
WORST_OF = (3, 5)
SYSTEM_CHOICE = "Answer the question about the picture. Reply with the capital letter of the right option, such as A, and nothing else."
SYSTEM_YES_NO = "Answer the question about the picture. Reply with Yes or No and nothing else."
INSTRUCTION = " Please pay attention to this instruction: "
MODES = ("explicit", *(f"implicit-{k}" for k in WORST_OF))
NAMES = (
    *("all", "RefR", *(f"{mode} {flip}" for mode in MODES for flip in ("T->F", "T->R", "T->T", "F->T"))),
    *("compat all", *(f"compat {mode} {flip}" for mode in MODES for flip in ("T->F", "F->T"))),
)
"""Of the measures; each also ends in `/low`, `/medium` and `/high`."""
STAGES = ("clean", "explicit", "helpful", "misleading")

_LETTER = re.compile(r"(?:^|\b(?i:answer|option|choice)(?i: is)?[:\s]*)[\s(\[\"'*]*([A-Z])(?=$|[\s.,:;)\]\"'*])")
_SEVERAL = re.compile(r"\b[A-Z][\s)\]\"'*]*(?:or|and|,|/)[\s(\[\"'*]*[A-Z]\b(?! [a-z])")


def prompt(record: MubRecord, note: str = "") -> str:
    """System text, question, note, options; one line each where options are listed, else the note follows the question directly."""
    if record.yes_no or not record.choices:
        return f"{SYSTEM_YES_NO if record.yes_no else SYSTEM_CHOICE}\n{record.question}{note}"
    options = "\n".join(f"{letter}: {record.choices[letter]}" for letter in sorted(record.choices))
    return "\n".join(part for part in (SYSTEM_CHOICE, record.question, note.strip(), options) if part)


def strict_answer(response: str, choices: Mapping[str, str], *, yes_no: bool) -> str | None:
    """The one answer that a response gives: `yes` or `no`, or a letter; None where it gives none or several.

    A letter counts at the start, behind "answer" or "option", or alone; the text of exactly one option counts as its letter.
    """
    if yes_no:
        return leading_yes_no(normalise(response).split())
    said = response.strip()
    for letter, text in choices.items():
        if normalise(said) == normalise(text) and sum(normalise(other) == normalise(text) for other in choices.values()) == 1:
            return letter
    if _SEVERAL.search(said):
        return None
    letters = {m[1] for m in _LETTER.finditer(said) if not _article(said, m)}
    letters &= set(choices) or set("ABCDEFGH")
    return letters.pop() if len(letters) == 1 else None


def _article(said: str, match: re.Match[str]) -> bool:
    """Whether the letter is the word `A` or `I` of a sentence: "A red circle"."""
    return match[1] in "AI" and re.match(r"\s+[a-z]", said[match.end(1) :]) is not None


def compat_correct(response: str, answer: str, question: str, *, last: str) -> bool:
    """As the authors' scripts judge: the first letter up to `last` that stands alone, else the text in lower case without blanks; right
    where that contains the answer, so `notsure` contains `no`. An option that stands in the question as `A: text,` is found by its text."""
    said = ""
    for letter, text in re.findall(rf"\b([A-{last}]): ([^,]+)(?:,|$)", question):
        if text.strip() in response:
            said = str(letter)
            break
    if not said:
        first = re.search(rf"\b([A-{last}])\b", response)
        said = first[1] if first else response.replace(" ", "").lower()
    return answer in said


class Mub:
    """The benchmark. One question makes an item without a note, one with the hint, and one for every note (the first five of each side)."""

    name = "mub"
    notes = (
        "T->F: right answers that the note turns wrong; F->T: wrong ones that it turns right; T->R (ours): right ones turned refusals.",
        "Explicit: one hint. implicit-k: the worst of the first k notes, so that the two are not on the same footing.",
        "Tiers by the exact number of the authors' models that the hint misled: low 6, medium 9, high 12.",
    )

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items of all files below `folder`, question by question. Raises BenchmarkDataMissing for missing files or images."""
        records = read_folder(folder).records
        absent = sorted({record.image for record in records if not (folder / record.image).is_file()})
        if absent:
            raise BenchmarkDataMissing(
                f"{folder}: {len(absent)} of the pictures of {len(records)} questions are not there, the first is {absent[0]}; {WHERE}"
            )
        return [item for record in records for item in items_of(record, folder)]

    def file_notes(self, folder: Path) -> list[str]:
        """What a reader of the results must know about the files: truncated ones, repetitions, what is not covered."""
        return list(read_folder(folder).notes)

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """`refused` and `correct` by the strict parser, `answer` as it reads it; `compat`, right by the authors' parser of A to D;
        `compat_implicit`, by that of their implicit scripts, A to H."""
        gold = item.gold
        choices, answer, yes_no = gold["choices"], gold["answer"], gold["yes_no"]
        asked = " ".join((gold["question"], *choices.values()))  # an option that says "cannot be determined" is no refusal
        refused = is_refusal(response, asked)
        said = None if refused else strict_answer(response, choices, yes_no=yes_no)
        by_letters = {
            name: compat_correct(response, answer, gold["question"], last=last)
            for name, last in (("compat", "D"), ("compat_implicit", "H"))
        }
        return Grade(key=item.key, values={"refused": refused, "correct": said == answer, "answer": said, **by_letters})

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """By name: `all` (stage-1 accuracy), `RefR` (stage-1 refusals), then for `explicit`, `implicit-3` and `implicit-5`: `T->F`, `T->R`,
        `T->T`, `F->T`; each over all questions and `/low`, `/medium`, `/high`; `compat ...` with the authors' parser.

        Explicit T->F is over questions whose hint is wrong, F->T over those whose hint is right; implicit ones over those with notes.
        """
        return _Rates(items, grades).measures()

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """Three files as published (arrays, records repeated, the last file cut in the middle of a record) and their pictures."""
        files, pictures = tiny_records(samples, seed=seed)
        for index, (name, records) in enumerate(sorted(files.items())):
            repeated = [record for record in records for _ in range(3)]
            text = json.dumps(repeated, indent=2, ensure_ascii=False)
            if index == len(files) - 1:
                text = text[: text.rindex('"closed_model_response_F"')]
            write_bytes(folder / "implicit" / "mislead_output" / name, text.encode())
        for name, data in pictures.items():
            out = io.BytesIO()
            decode_image(data).save(out, format="JPEG", quality=95, subsampling=0)
            write_bytes(folder / name, out.getvalue())


def items_of(record: MubRecord, folder: Path) -> list[BenchmarkItem]:
    """Every way of asking one record."""
    asked = [("clean", 0, ""), ("explicit", 0, f" {record.guide}")]
    for stage, notes in (("helpful", record.helpful), ("misleading", record.misleading)):
        asked += [(stage, place, INSTRUCTION + note) for place, note in enumerate(notes[: max(WORST_OF)])]
    facts: dict[str, Any] = {
        "question": record.question,
        "choices": record.choices,
        "answer": record.answer,
        "yes_no": record.yes_no,
        "num": record.num,
        "dataset": record.dataset,
        "hint_right": record.hint == record.answer,
    }
    return [
        BenchmarkItem(
            key=f"{record.key}-{stage}" + (str(place + 1) if stage in ("helpful", "misleading") else ""),
            image=folder / record.image,
            prompt=prompt(record, note),
            group=record.key,
            gold={**facts, "stage": stage, "place": place},
        )
        for stage, place, note in asked
    ]


class _Rates:
    """The rates from the grades of all items; sums stand at each question's clean item, so that pictures can be resampled."""

    def __init__(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> None:
        self.items = items
        self.size = len(items)
        self.grades = grades
        self.stages: dict[str, dict[str, list[BenchmarkItem]]] = defaultdict(lambda: {stage: [] for stage in STAGES})
        self.place: dict[str, int] = {}
        for index, item in enumerate(items):
            self.stages[item.group][item.gold["stage"]].append(item)
            if item.gold["stage"] == "clean":
                self.place[item.group] = index
        if lonely := sorted(set(self.stages) - set(self.place)):
            raise ValueError(f"mub: {lonely[0]} has no item without a note; grade whole questions")

    def measures(self) -> dict[str, Measure]:
        out: dict[str, Measure] = {}
        for tier, num in [("", None), *TIERS.items()]:
            groups = [g for g in self.place if num is None or self.stages[g]["clean"][0].gold["num"] == num]
            suffix = f"/{tier}" if tier else ""
            for name, pairs in self._counts(groups).items():
                out[name + suffix] = self._measure(pairs)
        return out

    def _measure(self, pairs: dict[str, tuple[bool, bool]]) -> Measure:
        top, bottom = np.zeros(self.size), np.zeros(self.size)
        for group, (counted, about) in pairs.items():
            top[self.place[group]], bottom[self.place[group]] = counted and about, about
        return Measure((Ratio(top, bottom),), n=int(bottom.sum()))

    def _counts(self, groups: Sequence[str]) -> dict[str, dict[str, tuple[bool, bool]]]:
        """By measure and question: (counts, belongs to it)."""
        out: dict[str, dict[str, tuple[bool, bool]]] = {name: {} for name in NAMES}
        for group in groups:
            stages = self.stages[group]
            clean = stages["clean"][0]
            for parser in ("", "compat "):
                out[f"{parser}all"][group] = (self._outcome(clean, parser, "explicit") == "T", True)
            out["RefR"][group] = (self._outcome(clean, "", "explicit") == "R", True)
            right = clean.gold["hint_right"]
            self._flips(out, group, "explicit", clean, [] if right else stages["explicit"], stages["explicit"] if right else [])
            for k in WORST_OF:
                wrong_notes = [item for item in stages["misleading"] if item.gold["place"] < k]
                right_notes = [item for item in stages["helpful"] if item.gold["place"] < k]
                self._flips(out, group, f"implicit-{k}", clean, wrong_notes, right_notes)
        return out

    def _flips(
        self,
        out: dict[str, dict[str, tuple[bool, bool]]],
        group: str,
        mode: str,
        clean: BenchmarkItem,
        misleading: Sequence[BenchmarkItem],
        helpful: Sequence[BenchmarkItem],
    ) -> None:
        """Enter one question's flips in one mode: misled if any note makes the answer wrong, corrected if any makes it right."""
        for parser in ("", "compat "):
            before = self._outcome(clean, parser, mode)
            after = {self._outcome(item, parser, mode) for item in misleading}
            worst = "F" if "F" in after else "R" if "R" in after else "T"
            about = before == "T" and bool(misleading)
            out[f"{parser}{mode} T->F"][group] = (worst == "F", about)
            corrected = "T" in {self._outcome(item, parser, mode) for item in helpful}
            out[f"{parser}{mode} F->T"][group] = (corrected, before == "F" and bool(helpful))
            if not parser:
                out[f"{mode} T->R"][group] = (worst == "R", about)
                out[f"{mode} T->T"][group] = (worst == "T", about)

    def _outcome(self, item: BenchmarkItem, parser: str, mode: str) -> str:
        values = self.grades[item.key].values
        if parser:
            return "T" if values["compat" if mode == "explicit" else "compat_implicit"] else "F"
        return "R" if values["refused"] else "T" if values["correct"] else "F"
