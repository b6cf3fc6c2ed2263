"""VQAv2-IDK (ncsoft/idk; VQAv2's questions, CC BY 4.0): questions of VQAv2 that some annotators said they could not answer.

    VQAv2-IDK-val.json   [{"question_id": "262148000", "image": "val2014/COCO_val2014_000000262148.jpg", "question": ...,
                           "answer": [10 texts], "keywords": [those of them that do not answer]}]

As a label "cannot be answered" the file is noisy: of 6,624 questions, 4,582 have one such answer once "none" is left aside (often a real
answer: "none" of them), 546 have two, 87 three, 3 five, and on 4,103 three annotators agree on a real answer. So a question is beyond the
image only with `min_idk` keywords that are not in `not_idk`; with fewer it is answerable by what three annotators agree on, or left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inbol.sources.published import NO_AGREEMENT, Asked, Options, Part, agreed, load, numbered, take, texts

REASON = "the image does not show enough to know it"


@dataclass(frozen=True)
class VqaV2Idk:
    """The files of VQAv2-IDK."""

    name: str = "vqav2-idk"
    download: str = (
        "from https://github.com/ncsoft/idk take VQAv2-IDK-{train,val}.json, from https://cocodataset.org/#download 2014 Train/Val images, "
        "and unpack them below source.path"
    )

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """One row a question."""
        yield from numbered(part.annotations, load(part.annotations, list))

    def question(self, raw: Any, options: Options) -> Asked | str:
        """See `Format`."""
        number, image, text = (take(raw, field, str) for field in ("question_id", "image", "question"))
        given, keywords = texts(raw, "answer"), texts(raw, "keywords")
        idk = [keyword for keyword in keywords if keyword.strip().lower() not in options.not_idk]
        if len(idk) >= options.min_idk:
            return Asked(id=number, image=image, text=text, answers=(), kind=options.unanswerable_kind, reason=REASON)
        if not (answers := agreed([answer for answer in given if answer not in set(idk)], options.agreeing)):
            return NO_AGREEMENT
        return Asked(id=number, image=image, text=text, answers=answers, kind="hard")
