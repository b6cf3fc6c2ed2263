"""Supervised targets from boundary labels: what to answer, what to refuse, and how much each counts."""

from __future__ import annotations

import random

from inbol.contracts import Boundary, BoundaryLabel, Question, SftExample
from inbol.text.refusals import refusal

METHODS = ("soft", "threshold", "plain")
_EPSILON = 1e-9


def in_dead_band(confidence: float, *, tau: float, dead_band: float) -> bool:
    """True when |c - tau| < dead_band, so that the label would be close to a coin's; never at dead_band 0."""
    return abs(confidence - tau) < dead_band - _EPSILON


def draw_refusal(question: Question, *, reason_share: float, rng: random.Random) -> str:
    """A refusal of `question`: with its reason for a share of the draws, in the words of the boundary that it is beyond."""
    with_reason = rng.random() < reason_share
    return refusal("unknown" if question.answerable else question.kind, with_reason=with_reason, rng=rng, reason=question.reason)


def build_examples(
    question: Question, label: BoundaryLabel, *, method: str, tau: float, dead_band: float, reason_share: float, seed: int
) -> tuple[SftExample, ...]:
    """The examples of one question; none in the dead band, and none beyond the image for `plain`.

    Args:
        method: `soft`: the answer with weight c and a refusal with weight 1 - c; the gold answer alone when MISTAKEN. `threshold`: the
            answer when KNOWN (or MISTAKEN), else a refusal, of weight 1 (IDK-IT, the refusal tuning of arXiv 2412.11196). `plain`: the
            gold answer alone, of weight 1.
        tau: threshold that the label used; centre of the dead band.
        dead_band: half-width, in [0, 0.5]; answerable questions inside it are left out (`soft` and `threshold`).
        reason_share: share of the refusals that state their reason.
        seed: seed of the wordings; the draw depends on (seed, question key) alone.

    Raises:
        ValueError: unknown method, a label of another question, or sampling stopped early where the confidence itself is needed.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(map(repr, METHODS))}")
    if label.key != question.key:
        raise ValueError(f"label of {label.key} cannot make an example of question {question.key}")
    for_answer, for_refusal = _weights(question, label, method)
    if (
        question.answerable
        and method != "plain"
        and label.label is not Boundary.MISTAKEN
        and dead_band > 0
        and in_dead_band(label.exact_confidence("sft_data.dead_band"), tau=tau, dead_band=dead_band)
    ):
        return ()
    examples = []
    if for_answer > 0:
        examples.append(_example(question, question.answers[0], for_answer, "answer"))
    if for_refusal > 0:
        rng = random.Random(f"sft:{seed}:{question.key}")
        examples.append(_example(question, draw_refusal(question, reason_share=reason_share, rng=rng), for_refusal, "refusal"))
    return tuple(examples)


def _weights(question: Question, label: BoundaryLabel, method: str) -> tuple[float, float]:
    """Weight of the answer and of the refusal."""
    if method == "plain":
        return (1.0, 0.0) if question.answerable else (0.0, 0.0)
    if label.label is Boundary.BEYOND_IMAGE:
        return 0.0, 1.0
    if label.label is Boundary.MISTAKEN:
        return 1.0, 0.0
    if method == "soft":
        c = label.exact_confidence("sft_data.method='soft'")
        return c, 1.0 - c
    return (1.0, 0.0) if label.label is Boundary.KNOWN else (0.0, 1.0)


def _example(question: Question, target: str, weight: float, role: str) -> SftExample:
    return SftExample(
        key=f"{question.key}-{role[0]}",
        image_key=question.image_key,
        prompt=question.text,
        target=target,
        weight=weight,
        role=role,
    )
