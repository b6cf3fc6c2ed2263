from __future__ import annotations

import pytest

from inbol.contracts import Boundary, Confidence, Question
from inbol.probing.boundary import draw_boundary

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
BEYOND = Question(
    key="q", image_key="i", text="who drew it?", answerable=False, kind="context-dependent", reason="it does not say who made it"
)


def confidence(accuracy: float | None, key: str = "q") -> Confidence:
    return Confidence(key=key, image_key="i", accuracy=accuracy, consistency=1.0, entropy=0.0, logprob=-1.0, refused=0.0)


@pytest.mark.parametrize(
    ("c", "tau", "label"),
    [
        (0.5, 0.5, Boundary.KNOWN),
        (0.4, 0.5, Boundary.UNKNOWN),
        (1.0, 1.0, Boundary.KNOWN),
        (0.9, 1.0, Boundary.UNKNOWN),
        (0.0, 0.0, Boundary.KNOWN),
    ],
)
def test_known_from_tau_on(c: float, tau: float, label: Boundary) -> None:
    assert draw_boundary(QUESTION, confidence(c), tau=tau).label is label


def test_evidence_names_rule_number_and_threshold() -> None:
    assert draw_boundary(QUESTION, confidence(0.4), tau=0.5).evidence == "Intrinsic rule: sampled accuracy 0.4 is below tau = 0.5."
    assert draw_boundary(QUESTION, confidence(0.7), tau=0.5).evidence == "Intrinsic rule: sampled accuracy 0.7 is at least tau = 0.5."
    beyond = draw_boundary(BEYOND, confidence(None), tau=0.5)
    assert beyond.evidence == (
        "Extrinsic rule: a context-dependent question cannot be answered from the image: it does not say who made it."
    )
    assert (beyond.label, beyond.confidence) == (Boundary.BEYOND_IMAGE, 0.0)


def test_mismatches_are_named() -> None:
    with pytest.raises(ValueError, match="confidence of x cannot label question q"):
        draw_boundary(QUESTION, confidence(1.0, key="x"), tau=0.5)
    with pytest.raises(ValueError, match="q: an answerable question needs an accuracy"):
        draw_boundary(QUESTION, confidence(None), tau=0.5)


@pytest.mark.parametrize(
    ("c", "consistency", "expected"),
    [(0.2, 0.8, Boundary.MISTAKEN), (0.2, 0.6, Boundary.UNKNOWN), (0.3, 0.7, Boundary.MISTAKEN), (0.8, 0.8, Boundary.KNOWN)],
)
def test_mistaken_is_sure_and_wrong(c: float, consistency: float, expected: Boundary) -> None:
    """Threshold 0.7 on the share of the most frequent answer, for questions below tau = 0.5 alone."""
    question = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
    confidence = Confidence(key="q", image_key="i", accuracy=c, consistency=consistency, entropy=0.5, logprob=-1.0, refused=0.0)
    label = draw_boundary(question, confidence, tau=0.5, mistaken=0.7)
    assert label.label is expected
    assert ("agree on a wrong answer" in label.evidence) == (expected is Boundary.MISTAKEN)
    without = draw_boundary(question, confidence, tau=0.5)
    assert without.label in (Boundary.KNOWN, Boundary.UNKNOWN)
