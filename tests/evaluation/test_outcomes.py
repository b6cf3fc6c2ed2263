"""Joining predictions with what was asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from inbol.contracts import Confidence, Outcome, Prediction, Question
from inbol.evaluation.outcomes import join

KNOWN = Question(key="a-q0", image_key="a", text="what shape is in the image?", answers=("circle",), kind="shape")
BEYOND = Question(
    key="a-u0", image_key="a", text="who drew this?", answerable=False, kind="context-dependent", wording="unseen", reason="no"
)


def said(key: str, text: str, probability: float = 0.9) -> Prediction:
    return Prediction(key=key, image_key="a", text=text, logprob=math.log(probability), num_tokens=2)


def sure(key: str, accuracy: float | None) -> Confidence:
    return Confidence(
        key=key, image_key="a", accuracy=accuracy, consistency=1.0, entropy=0.0, logprob=-1.0, refused=0.0, fresh_accuracy=0.4
    )


def joined(**changes: Any):
    answers = {"a-q0": said("a-q0", "circle"), "a-u0": said("a-u0", "I do not know.")}
    base = {"a-q0": said("a-q0", "square"), "a-u0": said("a-u0", "circle")}
    confidences = {"a-q0": sure("a-q0", 0.7), "a-u0": sure("a-u0", None)}
    values: dict[str, Any] = {"levels": {"a": 2}, "predictions": answers, "base_predictions": base, "confidences": confidences, **changes}
    return join([KNOWN, BEYOND], **values)


def test_join_puts_together_what_the_tables_group_by() -> None:
    known, beyond = joined()
    assert (known.outcome, known.base_outcome) == (Outcome.CORRECT, Outcome.WRONG)
    assert (known.confidence, known.fresh_accuracy, known.level, known.kind) == (0.7, 0.4, 2, "shape")
    assert (known.question, known.answers, known.text, known.base_text) == (KNOWN.text, ("circle",), "circle", "square")
    assert (beyond.outcome, beyond.base_outcome) == (Outcome.REFUSED, Outcome.WRONG)
    assert (beyond.confidence, beyond.fresh_accuracy, beyond.answerable, beyond.wording) == (0.0, None, False, "unseen")


def test_a_threshold_turns_improbable_responses_into_refusals() -> None:
    predictions = {"a-q0": said("a-q0", "circle", 0.3), "a-u0": said("a-u0", "circle", 0.6)}
    known, beyond = joined(predictions=predictions, refuse_below=0.5)
    assert (known.outcome, known.text) == (Outcome.REFUSED, "REFUSED")
    assert (beyond.outcome, beyond.text) == (Outcome.WRONG, "circle")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": {"a-q0": said("a-q0", "circle")}}, "predictions: nothing for 1 questions, first 'a-u0'"),
        ({"base_predictions": {}}, "base_predictions: nothing for 2 questions"),
        ({"confidences": {}}, "confidence: nothing for 1 questions, first 'a-q0'"),
        ({"confidences": {"a-q0": sure("a-q0", None)}}, "confidence: nothing for 1 questions"),
        (
            {"confidences": {"a-q0": replace(sure("a-q0", None), accuracy_bounds=(0.5, 0.9))}},
            r"a-q0: .*sampling\.stop=label.* a score needs .*set sampling\.stop=never",
        ),
    ],
)
def test_missing_records_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined(**changes)


def test_predictions_of_another_run_are_refused() -> None:
    extra = {key: said(key, "circle") for key in ("a-q0", "a-u0", "z-q9")}
    with pytest.raises(ValueError, match="z-q9"):
        joined(predictions=extra)
