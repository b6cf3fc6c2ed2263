"""GQA (arXiv 1902.09506; images of Visual Genome): questions made from scene graphs, one answer each.

    val_balanced_questions.json   {"05515938": {"imageId": "2405722", "question": ..., "answer": "stand", "fullAnswer": ...,
                                    "types": {"structural": "query", ...}, "isBalanced": true, ...}, ...}
    images/2405722.jpg

`train_all_questions` is a folder of such files, and may stand in the file's place. `fullAnswer` plays no part: short answers are graded.
The files of the test and challenge parts have no answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inbol.sources.published import Asked, Options, Part, load, take


@dataclass(frozen=True)
class Gqa:
    """The files of GQA."""

    name: str = "gqa"
    download: str = (
        "from https://cs.stanford.edu/people/dorarad/gqa/download.html take Questions (questions1.2.zip) and Images (images.zip), and "
        "unpack them below source.path"
    )

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """One row a question, with its id."""
        files = sorted(part.annotations.glob("*.json")) if part.annotations.is_dir() else [part.annotations]
        if not files:
            raise ValueError(f"{part.annotations}: holds no .json files")
        for path in files:
            for number, raw in load(path, dict).items():
                yield f"{path}: record {number!r}", {**raw, "id": number} if isinstance(raw, dict) else raw

    def question(self, raw: Any, options: Options) -> Asked | str:
        """See `Format`."""
        answer = take(raw, "answer", str, hint="GQA publishes no answers of test and challenge; take train, val or testdev").strip()
        if not answer:
            raise ValueError("answer is empty")
        return Asked(
            id=raw["id"],
            image=f"{take(raw, 'imageId', str)}.jpg",
            text=take(raw, "question", str),
            answers=(answer,),
            kind=take(take(raw, "types", dict), "structural", str),
        )
