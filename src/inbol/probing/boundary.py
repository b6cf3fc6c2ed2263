"""From a confidence to a decision: known, unknown, or beyond the image."""

from __future__ import annotations

from collections.abc import Sequence

from inbol.contracts import Boundary, BoundaryLabel, Confidence, Question
from inbol.probing.stopping import label_between


def draw_boundary(
    question: Question,
    confidence: Confidence,
    *,
    tau: float,
    mistaken: float | None = None,
    decides: float | None = None,
    estimator: str = "sampled accuracy",
) -> BoundaryLabel:
    """The label of one question, with its evidence.

    The extrinsic boundary comes first and is exact: a question labelled unanswerable is beyond the image whatever the model says.
    Otherwise the question is KNOWN when the sampled accuracy c >= tau. Below it, it is MISTAKEN when the samples agree (the share of their
    most frequent answer, wrong then, is at least `mistaken`), else UNKNOWN. Sure-and-wrong is an error that training can correct; a refusal
    would have to be learnt against the model's own conviction. That distinction is ours, no paper's.

    Where sampling stopped early, the bounds of the shares decide in place of the shares (`probing/stopping.py`).

    Args:
        tau: threshold in [0, 1]; 0.5 is where answering and refusing have the same expected +1/0/-1 score.
        mistaken: share in (0.5, 1] of agreeing samples that makes an error a conviction; None for the two labels alone.
        decides: another estimator's probability in [0, 1], which takes the place of the accuracy; the agreement stays that of the samples.
        estimator: what decides, for the evidence.

    Raises:
        ValueError: the confidence is of another question, or lacks the accuracy of an answerable one, or sampling stopped early for
            another `tau` or `mistaken`, so that the label is open.
    """
    if confidence.key != question.key:
        raise ValueError(f"confidence of {confidence.key} cannot label question {question.key}")
    if not question.answerable:
        because = f": {question.reason}" if question.reason else ""
        return BoundaryLabel(
            key=question.key,
            image_key=question.image_key,
            label=Boundary.BEYOND_IMAGE,
            confidence=0.0,
            evidence=f"Extrinsic rule: a {question.kind or 'unanswerable'} question cannot be answered from the image{because}.",
        )
    accuracy, agreement = _shares(confidence)
    if decides is not None:
        accuracy = (decides, decides)
    label = label_between(accuracy, agreement, tau=tau, mistaken=mistaken)
    if label is None:
        raise ValueError(
            f"{question.key}: sampling stopped early (sampling.stop=label), with the accuracy in {_range(accuracy)} and the agreement in "
            f"{_range(agreement)}; that leaves the label open at tau = {tau:.3g}, mistaken = {mistaken}. Sample with these values, or set "
            "sampling.stop=never"
        )
    known = label is Boundary.KNOWN
    evidence = f"Intrinsic rule: {estimator} {_range(accuracy)} is {'at least' if known else 'below'} tau = {tau:.3g}."
    if label is Boundary.MISTAKEN:
        evidence += f" Of the samples, {_range(agreement)} agree on a wrong answer, at least {mistaken:.3g}."
    c = confidence.accuracy if decides is None else decides
    return BoundaryLabel(key=question.key, image_key=question.image_key, label=label, confidence=c, evidence=evidence)


def _shares(confidence: Confidence) -> tuple[Sequence[float], Sequence[float]]:
    """Ends of the share of correct samples and of the most frequent wrong answer's; equal where all K were drawn."""
    if confidence.accuracy_bounds:
        return confidence.accuracy_bounds, confidence.agreement_bounds
    c, consistency, refused = confidence.accuracy, confidence.consistency, confidence.refused
    if c is None or consistency is None or refused is None:
        raise ValueError(f"{confidence.key}: an answerable question needs an accuracy; run the confidence stage on its responses again")
    # the most frequent answer is a wrong one where more samples give it than are right, or refuse
    wrong = consistency if consistency > max(c, refused) else 0.0
    return (c, c), (wrong, wrong)


def _range(ends: Sequence[float]) -> str:
    low, high = ends
    return f"{low:.3g}" if low == high else f"[{low:.3g}, {high:.3g}]"
