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


def bounded(accuracy: tuple[float, float], agreement: tuple[float, float] = (0.0, 0.5)) -> Confidence:
    return Confidence(
        key="q", image_key="i", accuracy=None, consistency=None, entropy=None, logprob=None, refused=None,
        accuracy_bounds=accuracy, agreement_bounds=agreement,
    )  # fmt: skip


def test_bounds_decide_where_sampling_stopped_early() -> None:
    known = draw_boundary(QUESTION, bounded((0.5, 0.9)), tau=0.5, mistaken=0.7)
    assert (known.label, known.confidence) == (Boundary.KNOWN, None)
    assert known.evidence == "Intrinsic rule: sampled accuracy [0.5, 0.9] is at least tau = 0.5."
    assert draw_boundary(QUESTION, bounded((0.1, 0.4)), tau=0.5).label is Boundary.UNKNOWN
    mistaken = draw_boundary(QUESTION, bounded((0.0, 0.3), (0.7, 1.0)), tau=0.5, mistaken=0.7)
    assert mistaken.label is Boundary.MISTAKEN
    assert mistaken.evidence.endswith("is below tau = 0.5. Of the samples, [0.7, 1] agree on a wrong answer, at least 0.7.")
    with pytest.raises(ValueError, match=r"q: its sampling stopped early \(sampling\.stop=label\), but a soft target needs all K samples"):
        known.exact_confidence("a soft target")


def test_bounds_from_another_threshold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"accuracy in \[0\.5, 0\.9\].*open at tau = 0\.6, mistaken = None.*sampling\.stop=never"):
        draw_boundary(QUESTION, bounded((0.5, 0.9)), tau=0.6)
    with pytest.raises(ValueError, match=r"agreement in \[0\.2, 0\.8\].*open at tau = 0\.5, mistaken = 0\.7"):
        draw_boundary(QUESTION, bounded((0.0, 0.4), (0.2, 0.8)), tau=0.5, mistaken=0.7)
