from __future__ import annotations

import pytest

from inbol.contracts import Outcome
from inbol.text.match import REFUSAL_CLUSTER, cluster, grade_response
from inbol.text.refusals import all_refusals

C, R, W = Outcome.CORRECT, Outcome.REFUSED, Outcome.WRONG


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        ("red", ("red",), C),
        ("Red.", ("red",), C),
        ("the shape is red", ("red",), C),
        ("blue", ("red",), W),
        ("not red", ("red",), W),
        ("it isn't red", ("red",), W),
        ("redish", ("red",), W),
        ("red or blue", ("red",), W),
        ("red", ("scarlet", "red"), C),
        ("one two", ("1 2",), C),
        ("red " * 13, ("red",), W),
        ("", ("red",), W),
        ("  ", ("red",), W),
        ("I am not sure, but it looks red.", ("red",), C),
        ("I am not sure, but it looks blue.", ("red",), W),
        ("I cannot tell, because the image has no red shape.", ("red",), R),
    ],
)
def test_words(text: str, answers: tuple[str, ...], expected: Outcome) -> None:
    assert grade_response(text, answers=answers, answerable=True, question="what color is the shape?") is expected


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("yes", "yes", C),
        ("No.", "no", C),
        ("no", "yes", W),
        ("yes, there is no circle", "yes", C),
        ("yes, there is no circle", "no", W),
        ("I think yes", "yes", C),
        ("not sure", "no", R),
        ("Not sure, but no", "no", C),
        ("I do not know", "no", R),
        ("No one could know that.", "no", R),
        ("There is no way to tell.", "no", R),
        ("there is no circle", "no", W),
        ("yes or no", "yes", W),
        ("yes and no", "no", W),
        ("circle", "yes", W),
        ("nothing", "no", W),
    ],
)
def test_yes_and_no_are_strict(text: str, answer: str, expected: Outcome) -> None:
    assert grade_response(text, answers=(answer,), answerable=True, question="is a circle present?") is expected


@pytest.mark.parametrize(
    ("text", "expected"), [("red", W), ("no", W), ("", W), ("I cannot tell.", R), ("I am not sure, but it looks red.", W)]
)
def test_beyond_the_image_only_a_refusal_is_not_wrong(text: str, expected: Outcome) -> None:
    assert grade_response(text, answers=(), answerable=False, question="who drew it?") is expected


def test_an_answerable_question_needs_answers() -> None:
    with pytest.raises(ValueError, match="has no accepted answer"):
        grade_response("red", answers=(), answerable=True, question="what color is it?")


def test_all_refusals_are_one_cluster_and_answers_are_their_normal_form() -> None:
    assert {cluster(text, "what color is it?") for text in all_refusals()} == {REFUSAL_CLUSTER}
    assert cluster("The Circle.", "what shape is it?") == "circle"
