"""From a confidence to a decision: known, unknown, or beyond the image."""

from __future__ import annotations

from inbol.contracts import Boundary, BoundaryLabel, Confidence, Question


def draw_boundary(question: Question, confidence: Confidence, *, tau: float) -> BoundaryLabel:
    """The label of one question, with its evidence.

    The extrinsic boundary comes first and is exact: a question labelled unanswerable is beyond the image whatever the model says.
    Otherwise the question is KNOWN when the sampled accuracy c >= tau, else UNKNOWN.

    Args:
        tau: threshold in [0, 1]; 0.5 is where answering and refusing have the same expected +1/0/-1 score.

    Raises:
        ValueError: the confidence is of another question, or lacks the accuracy of an answerable one.
    """
    if confidence.key != question.key:
        raise ValueError(f"confidence of {confidence.key} cannot label question {question.key}")
    if not question.answerable:
        because = f": {question.reason}" if question.reason else ""
        label, c = Boundary.BEYOND_IMAGE, 0.0
        evidence = f"Extrinsic rule: a {question.kind or 'unanswerable'} question cannot be answered from the image{because}."
    else:
        if confidence.accuracy is None:
            raise ValueError(f"{question.key}: an answerable question needs an accuracy; run the confidence stage on its responses again")
        c = confidence.accuracy
        known = c >= tau
        label = Boundary.KNOWN if known else Boundary.UNKNOWN
        evidence = f"Intrinsic rule: sampled accuracy {c:.3g} is {'at least' if known else 'below'} tau = {tau:.3g}."
    return BoundaryLabel(key=question.key, image_key=question.image_key, label=label, confidence=c, evidence=evidence)
