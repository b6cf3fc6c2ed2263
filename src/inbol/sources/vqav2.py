"""VQAv2 (arXiv 1612.00837, CC BY 4.0; images of COCO): ten answers to each question about a photograph.

Two files a part, joined by `question_id`; the image's name is made of `data_subtype` and `image_id`:

    v2_OpenEnded_mscoco_val2014_questions.json
        {"data_subtype": "val2014", "questions": [{"image_id": 42, "question": "What color is it?", "question_id": 42000}]}
    v2_mscoco_val2014_annotations.json
        {"annotations": [{"question_id": 42000, "image_id": 42, "answer_type": "other",
                          "answers": [{"answer": "red", "answer_confidence": "yes", "answer_id": 1}, ...]}]}
    val2014/COCO_val2014_000000000042.jpg

Accepted are the answers that three of ten annotators gave, at which the VQA accuracy is 1; a question without one is left out. The files
of the test parts have no annotations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inbol.sources.published import NO_AGREEMENT, Asked, Options, Part, agreed, load, numbered, take, texts


@dataclass(frozen=True)
class VqaV2:
    """The files of VQAv2."""

    name: str = "vqav2"
    download: str = (
        "from https://visualqa.org/download.html take v2_Questions_{Train,Val}_mscoco.zip and v2_Annotations_{Train,Val}_mscoco.zip, from "
        "https://cocodataset.org/#download 2014 Train/Val images, and unpack them below source.path"
    )

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """One row a question, with its annotation and the part's name."""
        assert part.questions is not None
        annotations = {}
        for where, raw in numbered(part.annotations, _list(part.annotations, load(part.annotations, dict), "annotations")):
            if not isinstance(raw, dict) or "question_id" not in raw:
                raise ValueError(f"{where}: an annotation must be an object with question_id")
            annotations[raw["question_id"]] = raw
        questions = load(part.questions, dict)
        for where, raw in numbered(part.questions, _list(part.questions, questions, "questions")):
            if isinstance(raw, dict):
                raw = {**raw, "annotation": annotations.get(raw.get("question_id")), "data_subtype": questions.get("data_subtype")}
            yield where, raw

    def question(self, raw: Any, options: Options) -> Asked | str:
        """See `Format`."""
        number, image = take(raw, "question_id", int), take(raw, "image_id", int)
        if raw["annotation"] is None:
            raise ValueError(f"question_id {number} has no annotation; are both files of the same part? The test parts have none")
        annotation = raw["annotation"]
        if annotation.get("image_id") != image:
            raise ValueError(f"question_id {number} asks about image_id {image}, its annotation about {annotation.get('image_id')!r}")
        subtype = take(raw, "data_subtype", str)
        if not (answers := agreed(texts(annotation, "answers"), options.agreeing)):
            return NO_AGREEMENT
        return Asked(
            id=str(number),
            image=f"COCO_{subtype}_{image:012d}.jpg",
            text=take(raw, "question", str),
            answers=answers,
            kind=take(annotation, "answer_type", str),
        )


def _list(path: Any, raw: dict[str, Any], field: str) -> list[Any]:
    if not isinstance(raw.get(field), list):
        raise ValueError(f"{path}: has no list `{field}`; are annotations and questions the right way round?")
    records: list[Any] = raw[field]
    return records
