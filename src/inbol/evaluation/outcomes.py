"""From raw predictions to outcomes: joins what was asked, what was answered, what the base answered and how sure it was."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping

from inbol.contracts import Confidence, Graded, Outcome, Prediction, Question, stopped_early
from inbol.text.match import grade_response

REFUSED_TEXT = "REFUSED"
"""Stands for a response that a threshold or a calibration replaced by a refusal."""


def grade(prediction: Prediction, question: Question) -> Outcome:
    """The outcome of one response: refusal first, correctness second."""
    return grade_response(prediction.text, answers=question.answers, answerable=question.answerable, question=question.text)


def outcome(prediction: Prediction, question: Question, *, withheld: bool = False) -> Outcome:
    """As `grade`; a response that was withheld is a refusal."""
    return Outcome.REFUSED if withheld or prediction.withheld else grade(prediction, question)


def join(
    questions: Iterable[Question],
    *,
    levels: Mapping[str, int],
    predictions: Mapping[str, Prediction],
    base_predictions: Mapping[str, Prediction],
    confidences: Mapping[str, Confidence],
    refuse_below: float = 0.0,
    withheld: Container[str] = (),
) -> list[Graded]:
    """One `Graded` per question, in the order of the questions.

    Args:
        levels: degradation level by image key; images without one count as level 0.
        predictions: the system's responses by question key; the same for the base's.
        confidences: by question key; needed for every answerable question.
        refuse_below: responses whose sequence probability exp(logprob) is below this become refusals.
        withheld: keys of further responses that become refusals, beside those that their own record says are withheld.

    Raises:
        ValueError: a question without prediction or without confidence, one whose sampling stopped early, or a prediction for a
            question that was not asked.
    """
    asked = list(questions)
    keys = {q.key for q in asked}
    answerable = {q.key for q in asked if q.answerable}
    _complete("predictions", keys, predictions)
    _complete("base_predictions", keys, base_predictions)
    if early := sorted(key for key in answerable if key in confidences and confidences[key].accuracy_bounds):
        raise stopped_early(early[0], "a score")
    _need("confidence", {key for key in answerable if key not in confidences or confidences[key].accuracy is None})
    graded = []
    for question in asked:
        prediction, base = predictions[question.key], base_predictions[question.key]
        confidence = confidences.get(question.key)
        refuse = prediction.withheld or prediction.key in withheld or math.exp(prediction.logprob) < refuse_below
        graded.append(
            Graded(
                key=question.key,
                image_key=question.image_key,
                question=question.text,
                answers=question.answers,
                answerable=question.answerable,
                kind=question.kind,
                wording=question.wording,
                template=question.template,
                level=levels.get(question.image_key, 0),
                outcome=outcome(prediction, question, withheld=refuse),
                base_outcome=outcome(base, question),
                confidence=float(confidence.accuracy or 0.0) if confidence and question.answerable else 0.0,
                fresh_accuracy=confidence.fresh_accuracy if confidence and question.answerable else None,
                logprob=prediction.logprob,
                text=REFUSED_TEXT if refuse else prediction.text,
                base_text=base.text,
            )
        )
    return graded


def _complete(role: str, keys: set[str], predictions: Mapping[str, Prediction]) -> None:
    _need(role, keys - predictions.keys())
    if extra := sorted(predictions.keys() - keys):
        raise ValueError(
            f"{role}: {len(extra)} responses to questions that were not asked, first {extra[0]!r}; "
            "they were made from other vqa or unsolvable folders"
        )


def _need(role: str, missing: set[str]) -> None:
    if missing:
        raise ValueError(
            f"{role}: nothing for {len(missing)} questions, first {min(missing)!r}; "
            "run the stage again on the same vqa and unsolvable folders"
        )
