"""Refusal/answer preference pairs from the model's own samples."""

from __future__ import annotations

import random

from inbol.building.examples import draw_refusal, in_dead_band, left_out
from inbol.building.samples import SampledAnswer, sampled_answers
from inbol.contracts import Boundary, BoundaryLabel, Outcome, PreferencePair, Question, ResponseSet, stopped_early

__all__ = ["FORMS", "SampledAnswer", "build_pairs", "sampled_answers"]

FORMS = ("single", "duplicated", "knowledge")


def build_pairs(
    question: Question,
    label: BoundaryLabel,
    responses: ResponseSet,
    *,
    form: str,
    tau: float,
    dead_band: float,
    reason_share: float,
    seed: int,
    of: str = "all",
    altered: str = "",
) -> tuple[tuple[PreferencePair, ...], str]:
    """The pairs of one question, and why there are none ("" when there are some).

    Args:
        form: `single`: one pair. KNOWN: gold answer over refusal; otherwise refusal over the most frequent wrong sample.
            MISTAKEN: gold answer over the most frequent wrong sample. `duplicated`: one pair of weight n/K per distinct sampled answer: a
            correct one over the refusal, the refusal over a wrong one. In expectation this is the soft-label loss with two answer strings,
            and it never teaches refusal over a correct answer. `knowledge`: RLKF's order (arXiv 2403.18349), correct over refused over
            wrong: as `single`, and for KNOWN also the gold answer over the most frequent wrong sample, where there is one.
        tau: threshold that the label used; centre of the dead band.
        dead_band: half-width, in [0, 0.5]; answerable questions inside it get no pair.
        reason_share: share of the refusals that state their reason.
        seed: seed of the wordings; the draw depends on (seed, question key) alone.
        of: the questions that get pairs: `all`, `answerable` or `beyond-image`.
        altered: the alteration of the image that every pair is to be compared under as well (`sources/alter.py`); empty for none.

    Returns:
        (pairs, ""), or ((), reason) with reason one of `left-out` (by `of`), `dead-band`, `no-wrong-sample` (UNKNOWN or beyond the image,
        but every sample refuses or is empty) and `no-answer-sample` (`duplicated`: likewise).

    Raises:
        ValueError: unknown form, label or responses of another question, or sampling stopped early: the most frequent wrong answer, its
            share and the confidence are those of all K samples.
    """
    if form not in FORMS:
        raise ValueError(f"form: {form!r} is not one of {', '.join(map(repr, FORMS))}")
    if not question.key == label.key == responses.key:
        raise ValueError(f"question {question.key}, label {label.key} and responses {responses.key} must share one key")
    if responses.intended:
        raise stopped_early(question.key, "a preference pair")
    if left_out(question, of):
        return (), "left-out"
    confidence = label.exact_confidence("a preference pair")
    mistaken = label.label is Boundary.MISTAKEN
    if question.answerable and not mistaken and in_dead_band(confidence, tau=tau, dead_band=dead_band):
        return (), "dead-band"
    rng = random.Random(f"pairs:{seed}:{question.key}")
    sampled = sampled_answers(question, responses)
    if mistaken:
        wrong = [(a.text, a.count / len(responses.texts)) for a in sampled if a.outcome is Outcome.WRONG]
        return _corrections(question, wrong if form == "duplicated" else [(text, 1.0) for text, _ in wrong[:1]], altered)
    if form == "duplicated":
        sides = [(a.text, a.outcome is Outcome.CORRECT, a.count / len(responses.texts)) for a in sampled]
        skipped = "no-answer-sample"
    elif label.label is Boundary.KNOWN:
        sides, skipped = [(question.answers[0], True, 1.0)], ""
    else:
        sides = [(a.text, False, 1.0) for a in sampled if a.outcome is Outcome.WRONG][:1]
        skipped = "no-wrong-sample"
    pairs = []
    for number, (answer, answer_is_chosen, weight) in enumerate(sides):
        declined = draw_refusal(question, reason_share=reason_share, rng=rng)
        pairs.append(
            PreferencePair(
                key=f"{question.key}-p{number}",
                image_key=question.image_key,
                prompt=question.text,
                chosen=answer if answer_is_chosen else declined,
                rejected=declined if answer_is_chosen else answer,
                confidence=confidence,
                answer_is_chosen=answer_is_chosen,
                weight=weight,
                role="answerable" if question.answerable else "beyond-image",
                altered=altered,
            )
        )
    if form == "knowledge" and label.label is Boundary.KNOWN:
        over = [(a.text, 1.0) for a in sampled if a.outcome is Outcome.WRONG][:1]
        pairs += _corrections(question, over, altered, first=len(pairs))[0]
    return tuple(pairs), "" if pairs else skipped


def _corrections(
    question: Question, wrong: list[tuple[str, float]], altered: str, *, first: int = 0
) -> tuple[tuple[PreferencePair, ...], str]:
    """The gold answer over wrong ones, each (text, weight), numbered from `first`. The gold answer is right for sure, so these pairs carry
    confidence 1."""
    pairs = tuple(
        PreferencePair(
            key=f"{question.key}-p{number}",
            image_key=question.image_key,
            prompt=question.text,
            chosen=question.answers[0],
            rejected=text,
            confidence=1.0,
            answer_is_chosen=True,
            weight=weight,
            role="answerable",
            altered=altered,
        )
        for number, (text, weight) in enumerate(wrong, start=first)
    )
    return pairs, "" if pairs else "no-wrong-sample"
