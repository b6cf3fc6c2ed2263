"""An answer in words of confidence is graded like the answer alone; an unsure one is a refusal."""

from __future__ import annotations

import random

import pytest

from inbol.config.run import STYLES
from inbol.contracts import Outcome
from inbol.text.confidence import DEGREES, LEVELS, levels_of, with_confidence, with_sureness
from inbol.text.match import grade_response
from inbol.text.prompts import PROMPT_STYLES, level_style, render_question

ANSWERS = ("yes", "no", "red", "a circle", "2", "two dogs")


def graded(text: str, answer: str) -> Outcome:
    return grade_response(text, answers=(answer,), answerable=True, question="what is in the image?")


@pytest.mark.parametrize("answer", ANSWERS)
def test_degrees_leave_the_grade(answer: str) -> None:
    said = [with_confidence(answer, k / 10) for k in range(1, 11)]
    assert [said.index(text) for text in dict.fromkeys(said)] == [0, 2, 4, 6, 8]  # 1-2, 3-4, 5-6, 7-8, 9-10 of ten
    assert [graded(text, answer) for text in said] == [Outcome.CORRECT] * 10
    assert graded(said[9], "green") is graded(said[0], "green") is Outcome.WRONG


@pytest.mark.parametrize("answer", ANSWERS)
def test_sure_answers_and_unsure_ones_are_withheld(answer: str) -> None:
    assert graded(with_sureness(answer, sure=True), answer) is Outcome.CORRECT
    assert graded(with_sureness(answer, sure=False), answer) is Outcome.REFUSED


def test_wrong_values_are_named() -> None:
    assert len(DEGREES) == 5
    for value in (0.0, 1.2):
        with pytest.raises(ValueError, match="confidence"):
            with_confidence("red", value)
    with pytest.raises(ValueError, match="levels: 12 is not in"):
        levels_of(12, random.Random(0))


def test_levels_are_prompt_styles() -> None:
    assert levels_of(11, random.Random(0)) == list(LEVELS)
    assert render_question("what is it?", level_style(0.6)) == "Level of boldness: 0.6. what is it?"
    assert PROMPT_STYLES == STYLES and {level_style(level) for level in LEVELS} <= set(STYLES)
    with pytest.raises(ValueError, match=r"'level-0\.65' is not one of"):
        render_question("what is it?", "level-0.65")
