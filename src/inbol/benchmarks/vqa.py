"""VQA v2 (arXiv 1612.00837) in its published files, as a measure of helpfulness: every question can be answered, so a refusal helps nobody.

*questions*.json     {"questions": [{"question_id": 42000, "image_id": 42, "question": "What color is the bus?"}]}
*annotations*.json   {"annotations": [{"question_id": 42000, "answer_type": "other", "answers": [{"answer": "red"}, ...ten in all]}]}
COCO_val2014_000000000042.jpg
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.files import Pictures, read_field, rest, text_of
from inbol.benchmarks.measuring import Graded, share
from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Measure
from inbol.text.normalise import normalise
from inbol.text.refusals import is_refusal

NAME = "vqa"
AGREEING = 3
"""Annotators who must agree with an answer for it to count in full."""
ANNOTATORS = 10
SOURCE = (
    "download the questions and the annotations of one split of VQA v2 from visualqa.org/download.html, "
    "and put the pictures of COCO that they ask about into the folder's images/"
)


class Vqa:
    """The benchmark; the folder holds one file of questions, one of annotations and, anywhere below, the pictures."""

    name = NAME
    notes = ("Soft VQA accuracy: min(annotators who agree / 3, 1), averaged over leaving out one annotator at a time.",)

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items, in the order of the questions."""
        questions, annotations = _file(folder, "questions"), _file(folder, "annotations")
        pictures = Pictures(folder, benchmark=NAME, source=SOURCE)
        about: dict[Any, tuple[str, dict[str, Any]]] = {}
        for where, raw in read_field(annotations, "annotations"):
            if raw.get("question_id") in about:
                raise ValueError(f"{where}: question_id {raw['question_id']!r} occurs twice")
            about[raw.get("question_id")] = where, raw
        items = []
        for where, raw in read_field(questions, "questions"):
            number, image = raw.get("question_id"), raw.get("image_id")
            if not isinstance(number, int) or not isinstance(image, int):
                raise ValueError(f"{where}: question_id and image_id must be integers, got {number!r} and {image!r}")
            if number not in about:
                raise ValueError(f"{where}: question_id {number} has no annotation in {annotations}; the files are of different splits")
            noted, annotation = about[number]
            question, key = text_of(where, raw, "question"), f"{NAME}-{number}"
            gold = {
                "question": question,
                "answers": annotators(noted, annotation.get("answers")),
                "answer_type": text_of(noted, annotation, "answer_type", default=""),
                "meta": rest(annotation, "answers", "answer_type", "image_id", "question_id"),
            }
            items.append(BenchmarkItem(key=key, image=pictures.by_number(where, image), prompt=question, group=key, gold=gold))
        pictures.check()
        return items

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """The soft accuracy, and whether the response refuses (which agrees with no annotator but one who did the same)."""
        refused = is_refusal(response, item.gold["question"])
        return Grade(key=item.key, values={"refused": refused, "accuracy": soft_accuracy(response, item.gold["answers"])})

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """Accuracy over all and by answer type, over what is answered, and the refusal rate, all of it over-refusal."""
        graded = Graded(items, grades)
        accuracy, refused = graded.number("accuracy"), graded.said("refused")
        types = {f"/{name}": graded.gold("answer_type", name) for name in graded.golds("answer_type")}
        return {
            **{f"accuracy{end}": share(accuracy, where) for end, where in {"": graded.everywhere, **types}.items()},
            "accuracy where answered": share(accuracy, ~refused),
            "refusal rate": share(refused, graded.everywhere),
        }

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """The samples' own questions; all ten annotators give the first accepted answer. The seed plays no part."""
        (folder / "images").mkdir(parents=True, exist_ok=True)
        questions, annotations = [], []
        for image, sample in enumerate(samples, start=1):
            (folder / "images" / f"TINY_test_{image:012d}.{sample.image_format}").write_bytes(sample.image)
            for place, question in enumerate(q for q in sample.questions if q.answerable):
                number = 1000 * image + place
                answers = [{"answer": question.answers[0], "answer_confidence": "yes", "answer_id": i + 1} for i in range(ANNOTATORS)]
                kind = "yes/no" if question.kind == "yes/no" else "other"
                questions.append({"question_id": number, "image_id": image, "question": question.text})
                annotations.append({"question_id": number, "image_id": image, "answer_type": kind, "answers": answers})
        for name, records in (("questions", questions), ("annotations", annotations)):
            (folder / f"tiny_{name}.json").write_text(json.dumps({"data_type": "tiny", name: records}), encoding="utf-8")


def soft_accuracy(response: str, answers: Sequence[str]) -> float:
    """The VQA accuracy (arXiv 1505.00468): the mean, over leaving out one annotator at a time, of min(others who agree / 3, 1).

    Responses and answers agree when they are equal after `text.normalise`, which is ours: close to the official one, not equal to it.
    """
    said = normalise(response)
    agree = [normalise(answer) == said for answer in answers]
    count = sum(agree)
    return sum(min((count - own) / AGREEING, 1.0) for own in agree) / len(agree)


def annotators(where: str, raw: Any) -> list[str]:
    """The annotators' answers. Raises ValueError for anything but a list of `{"answer": text}` or of texts."""
    answers = [one.get("answer") if isinstance(one, dict) else one for one in raw] if isinstance(raw, list) else []
    if not answers or not all(isinstance(answer, str) for answer in answers):
        raise ValueError(f"{where}: answers must be a list of annotators' answers, got {str(raw)[:80]!r}")
    return [str(answer) for answer in answers]


def _file(folder: Path, what: str) -> Path:
    found = sorted(folder.glob(f"*{what}*.json"))
    if not found:
        raise BenchmarkDataMissing(f"{NAME}: {folder} has no *{what}*.json; {SOURCE}")
    if len(found) > 1:
        raise ValueError(f"{folder}: {found[0].name} and {found[1].name} both look like the {what}; leave one of them")
    return found[0]
