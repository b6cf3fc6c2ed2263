"""VizWiz-VQA (arXiv 1802.08218): photographs and spoken questions of blind people; ten answers, and whether it can be answered.

    val.json   [{"image": "VizWiz_val_00000000.jpg", "question": ..., "answers": [{"answer": "...", "answer_confidence": "yes"}, ...],
                 "answer_type": "other", "answerable": 1}]
    val/VizWiz_val_00000000.jpg

`answerable` 0 makes a question beyond the image. What it lacks is not told (blurred, cut off, never in the picture), so the kind is one for
all of them. Of answerable questions, what three of ten annotators gave is accepted, "unanswerable" and "unsuitable" left aside; a question
without such an answer is left out. A record has no id, its image is its name. The file of the test part has no answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.sources.published import NO_AGREEMENT, Asked, Options, Part, agreed, load, numbered, take, texts

NO_ANSWERS = ("unanswerable", "unsuitable", "unsuitable image")
"""What annotators give in place of an answer."""
REASON = "the image does not show it well enough"


@dataclass(frozen=True)
class VizWiz:
    """The files of VizWiz-VQA."""

    name: str = "vizwiz"
    download: str = (
        "from https://vizwiz.org/tasks-and-datasets/vqa/ take Annotations.zip, train.zip and val.zip, and unpack them below source.path"
    )

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """One row a question."""
        yield from numbered(part.annotations, load(part.annotations, list))

    def question(self, raw: Any, options: Options) -> Asked | str:
        """See `Format`."""
        image, text = take(raw, "image", str), take(raw, "question", str)
        answerable = take(raw, "answerable", int, hint="VizWiz publishes no answers of test; take train or val")
        if answerable not in (0, 1):
            raise ValueError(f"answerable must be 0 or 1, got {answerable}")
        number = Path(image).stem
        if not answerable:
            return Asked(id=number, image=image, text=text, answers=(), kind=options.unanswerable_kind, reason=REASON)
        said = [answer for answer in texts(raw, "answers") if answer.strip().lower() not in NO_ANSWERS]
        if not (answers := agreed(said, options.agreeing)):
            return NO_AGREEMENT
        return Asked(id=number, image=image, text=text, answers=answers, kind=take(raw, "answer_type", str))
