"""A-OKVQA (arXiv 2206.01718; images of COCO 2017): questions that need knowledge, four choices, ten direct answers.

    aokvqa_v1p0_val.json   [{"split": "val", "image_id": 461751, "question_id": "22jb...", "question": ..., "choices": [4 texts],
                             "correct_choice_idx": 3, "direct_answers": [10 texts], "difficult_direct_answer": false, "rationales": [...]}]
    val2017/000000461751.jpg

`direct`: the question as it is; accepted are the correct choice and what three of ten annotators said. Questions marked as difficult to
answer directly are left out, as the data set's own evaluation does. `choice`: the choices stand behind the question, and the correct one is
accepted. The file of the test part has no answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inbol.sources.published import Asked, Options, Part, agreed, load, numbered, take, texts

DIFFICULT = "difficult to answer without the choices"


@dataclass(frozen=True)
class AOkvqa:
    """The files of A-OKVQA."""

    name: str = "a-okvqa"
    download: str = (
        "from https://github.com/allenai/aokvqa take aokvqa_v1p0.tar.gz, from https://cocodataset.org/#download 2017 Train/Val images, and "
        "unpack them below source.path"
    )

    def rows(self, part: Part) -> Iterator[tuple[str, Any]]:
        """One row a question."""
        yield from numbered(part.annotations, load(part.annotations, list))

    def question(self, raw: Any, options: Options) -> Asked | str:
        """See `Format`."""
        text, choices = take(raw, "question", str).strip(), texts(raw, "choices")
        place = take(raw, "correct_choice_idx", int, hint="A-OKVQA publishes no answers of test; take train or val")
        if not 0 <= place < len(choices):
            raise ValueError(f"correct_choice_idx {place} is not one of {len(choices)} choices")
        answers: tuple[str, ...] = (choices[place],)
        if options.answer_form == "choice":
            text = f"{text} Choices: {', '.join(choices)}."
        elif take(raw, "difficult_direct_answer", bool):
            return DIFFICULT
        else:
            answers = tuple(dict.fromkeys((*answers, *agreed(texts(raw, "direct_answers"), options.agreeing))))
        return Asked(
            id=take(raw, "question_id", str), image=f"{take(raw, 'image_id', int):012d}.jpg", text=text, answers=answers, kind="knowledge"
        )
