"""Can this question be answered from this picture? VizWiz (arXiv 1802.08218) and UNK-VQA in their published files.

VizWiz, a JSON array of questions by blind people, with ten answers and a label:

    {"image": "VizWiz_val_00000000.jpg", "question": "...", "answers": [{"answer": "..."}, ...], "answer_type": "other", "answerable": 1}

UNK-VQA, questions of VQA v2 that were altered until nobody could answer them, and others:

    {"annotation": [{"question_id": 1, "question": "...", "image_name": "...", "answerability": {"binary": 0}, "alter_type": "T-1"}]}

That `binary` is 1 for a question that can be answered is read from its name alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inbol.benchmarks.base import BenchmarkItem, Grade
from inbol.benchmarks.files import Pictures, Record, need_file, read_array, read_field, rest, text_of, write_pictures
from inbol.benchmarks.measuring import Graded, precision_recall_f1, share
from inbol.benchmarks.vqa import ANNOTATORS, annotators, soft_accuracy
from inbol.building.unsolvable import make_unsolvable
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Measure
from inbol.text.refusals import is_refusal

NAME = "answerability"
UNK_FILES = ("annt_test.json", "annt_val.json")
VIZWIZ_FILES = ("val.json", "annotations/val.json")
SOURCE = (
    "put either VizWiz's val.json or UNK-VQA's annt_test.json (its repository guoyang9/UNK-VQA links to the data) into the folder, "
    "and the pictures that it names into its images/"
)


class Answerability:
    """The benchmark; the folder holds one of the two data sets and, anywhere below, the pictures."""

    name = NAME
    notes = (
        "precision, recall, F1: a refusal as the finding that a question cannot be answered. over-refusal: refused of those that can. "
        "accuracy: soft VQA accuracy on those that can, where the file has annotators' answers.",
    )

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items, in the file's order. Raises ValueError for a folder that holds both data sets."""
        path = need_file(folder, (*UNK_FILES, *VIZWIZ_FILES), benchmark=NAME, source=SOURCE)
        there = [name for name in (*UNK_FILES, *VIZWIZ_FILES) if (folder / name).is_file()]
        if len(there) > 1:
            raise ValueError(f"{folder}: holds {' and '.join(there)}; one of them is measured, so leave one")
        unk = path.name in UNK_FILES
        pictures = Pictures(folder, benchmark=NAME, source=SOURCE)
        items = []
        for number, record in enumerate(read_field(path, "annotation") if unk else read_array(path)):
            image, gold = (_unk if unk else _vizwiz)(record)
            key = f"{NAME}-{number:06d}"
            items.append(BenchmarkItem(key=key, image=pictures.find(record[0], image), prompt=gold["question"], group=key, gold=gold))
        pictures.check()
        return items

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """Whether the response refuses, and the soft accuracy where the question can be answered and the answers are known."""
        values: dict[str, Any] = {"refused": is_refusal(response, item.gold["question"])}
        if item.gold["answerable"] and item.gold["answers"]:
            values["accuracy"] = soft_accuracy(response, item.gold["answers"])
        return Grade(key=item.key, values=values)

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """Refusal as detection, over-refusal, accuracy, and the recall by type of what cannot be answered."""
        graded = Graded(items, grades)
        every, refused, answerable = graded.everywhere, graded.said("refused"), graded.gold("answerable", True)
        kinds = {item.gold["type"] for item in items if not item.gold["answerable"] and item.gold["type"]}
        out = {
            **{f"refusal {name}": measure for name, measure in precision_recall_f1(refused, ~answerable, every).items()},
            "over-refusal": share(refused, answerable),
            "refusal rate": share(refused, every),
        }
        has_answers = graded.where(lambda item, values: "accuracy" in values)
        if has_answers.any():
            out["accuracy"] = share(graded.number("accuracy"), has_answers)
        by_kind = {f"refusal recall/{kind}": share(refused, ~answerable & graded.gold("type", kind)) for kind in sorted(kinds)}
        return out | (by_kind if len(kinds) > 1 else {})

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """VizWiz's form: two answerable questions and two beyond the picture of each sample; all annotators say the same."""
        names = write_pictures(samples, folder / "images")
        records = []
        for sample in samples:
            asked = [q for q in sample.questions if q.answerable and q.wording == "seen"][:2]
            asked += make_unsolvable(sample, split="test", false_premises=1, others=1, held_out=(), seed=seed)
            for question in asked:
                answer = question.answers[0] if question.answerable else "unanswerable"
                records.append(
                    {
                        "image": names[sample.key],
                        "question": question.text,
                        "answers": [{"answer": answer, "answer_confidence": "yes"}] * ANNOTATORS,
                        "answer_type": "other" if question.answerable else "unanswerable",
                        "answerable": int(question.answerable),
                    }
                )
        (folder / VIZWIZ_FILES[0]).write_text(json.dumps(records), encoding="utf-8")


def _vizwiz(record: Record) -> tuple[str, dict[str, Any]]:
    """(picture, gold) of a record of VizWiz."""
    where, raw = record
    gold = {
        "question": text_of(where, raw, "question"),
        "answerable": _label(where, "answerable", raw.get("answerable")),
        "answers": annotators(where, raw.get("answers")) if raw.get("answers") else [],
        "type": text_of(where, raw, "answer_type", default=""),
        "meta": rest(raw, "question", "answerable", "answers", "answer_type", "image"),
    }
    return text_of(where, raw, "image"), gold


def _unk(record: Record) -> tuple[str, dict[str, Any]]:
    """(picture, gold) of a record of UNK-VQA, which has no answers."""
    where, raw = record
    label = raw.get("answerability")
    gold = {
        "question": text_of(where, raw, "question"),
        "answerable": _label(where, "answerability.binary", label.get("binary") if isinstance(label, dict) else None),
        "answers": [],
        "type": str(raw.get("alter_type") or ""),
        "meta": rest(raw, "question", "answerability", "alter_type", "image_name"),
    }
    return text_of(where, raw, "image_name"), gold


def _label(where: str, name: str, value: Any) -> bool:
    if value not in (0, 1, "0", "1"):  # True and False are 1 and 0
        raise ValueError(f"{where}: {name} must be 0 or 1, got {value!r}")
    return int(value) == 1
