"""From a confidence to a decision: known, unknown, or beyond the image."""

from __future__ import annotations

from inbol.contracts import Boundary, BoundaryLabel, Confidence, Question


def draw_boundary(question: Question, confidence: Confidence, *, tau: float, mistaken: float | None = None) -> BoundaryLabel:
    """The label of one question, with its evidence.

    The extrinsic boundary comes first and is exact: a question labelled unanswerable is beyond the image whatever the model says.
    Otherwise the question is KNOWN when the sampled accuracy c >= tau. Below it, it is MISTAKEN when the samples agree (the share of their
    most frequent answer, wrong then, is at least `mistaken`), else UNKNOWN. Sure-and-wrong is an error that training can correct; a refusal
    would have to be learnt against the model's own conviction. That distinction is ours, no paper's.

    Args:
        tau: threshold in [0, 1]; 0.5 is where answering and refusing have the same expected +1/0/-1 score.
        mistaken: share in (0.5, 1] of agreeing samples that makes an error a conviction; None for the two labels alone.

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
        # below tau, so many agreeing samples are neither right (c < tau) nor, unless the model mostly refuses, refusals
        sure = mistaken is not None and confidence.consistency >= mistaken > max(c, confidence.refused)
        if not known and sure:
            label = Boundary.MISTAKEN
            evidence += f" Of the samples, {confidence.consistency:.3g} agree on a wrong answer, at least {mistaken:.3g}."
    return BoundaryLabel(key=question.key, image_key=question.image_key, label=label, confidence=c, evidence=evidence)
