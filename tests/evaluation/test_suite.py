"""Slices: which items each measure is about."""

from __future__ import annotations

import pytest

from inbol.evaluation.items import Items
from inbol.evaluation.scores import confidence_quality, score
from inbol.evaluation.suite import contrasts, suite
from tests.evaluation.fakes import graded

ROWS = [
    graded("a-q0", "C", "C", confidence=1.0),
    graded("a-q1", "R", "C", confidence=0.8, kind="color"),
    graded("a-q2", "R", "W", confidence=0.7),
    graded("b-q0", "R", "W", confidence=0.1, level=1),
    graded("b-q1", "C", "W", confidence=0.3, level=1),
    graded("b-q2", "R", "C", confidence=0.9, level=1, wording="unseen"),
    graded("b-q3", "C", "C", confidence=0.9, level=1, wording="unseen"),
    graded("a-u0", "R", answerable=False, kind="false-premise"),
    graded("b-u0", "W", answerable=False, kind="false-premise", level=1),
    graded("a-u1", "R", answerable=False, kind="vague", template="vague-3"),
    graded("b-u1", "R", answerable=False, kind="subjective", level=1),
    graded("b-u2", "W", answerable=False, kind="other-modality", level=1),
]


def value(slice_name: str, metric: str) -> float | None:
    return suite(Items.of(ROWS), tau=0.5, held_out={"other-modality"})[slice_name][metric].value


def test_answerable_slices_hold_seen_wordings_alone() -> None:
    """Seen: C R R R C, base C C W W W: T0 2/5 against -1/5."""
    assert value("answerable", "T0") == pytest.approx(0.4)
    assert value("answerable", "T0 - base") == pytest.approx(0.6)
    assert value("answerable", "RefR") == pytest.approx(0.6)
    assert value("answerable", "SelAcc") == pytest.approx(1.0)
    assert value("answerable/unseen", "Acc") == pytest.approx(0.5)
    assert value("answerable/level=0", "RefR") == pytest.approx(2 / 3)
    assert value("answerable/kind=color", "Acc") == pytest.approx(0.0)


def test_bands_of_confidence_include_both_ends_of_the_middle() -> None:
    """c = .1 | .8 .7 .3 | 1.0"""
    assert value("answerable/c<.2", "RefR") == pytest.approx(1.0)
    assert value("answerable/c=.2-.8", "RefR") == pytest.approx(2 / 3)
    assert value("answerable/c>.8", "RefR") == pytest.approx(0.0)


def test_unsolvable_slices() -> None:
    assert value("unsolvable/kind=false-premise", "RefR") == pytest.approx(0.5)
    assert value("unsolvable/false-premise/level=0", "RefR") == pytest.approx(1.0)
    assert value("unsolvable/text-kinds", "RefR") == pytest.approx(1.0)
    assert value("unsolvable/held-out", "RefR") == pytest.approx(0.0)
    assert value("unsolvable", "T0") == pytest.approx(3 / 5 - 1)
    assert value("unsolvable", "T1") == pytest.approx(2 * 3 / 5 - 1)


def test_trust_is_half_answerable_half_beyond() -> None:
    assert value("trust", "T1 50/50") == pytest.approx((0.4 + 0.2) / 2)
    assert value("trust", "T1 50/50 - base") == pytest.approx(0.3 - (-0.2 - 1) / 2)


def test_over_refusal_denominators() -> None:
    """c >= .8 seen: 1.0 C, .8 R; known seen adds .7 R; base right seen: C, R; unseen, base right: R, C."""
    assert value("over-refusal", "c>=.8") == pytest.approx(0.5)
    assert value("over-refusal", "c>=.8, level 0") == pytest.approx(0.5)
    assert value("over-refusal", "known") == pytest.approx(2 / 3)
    assert value("over-refusal", "base right") == pytest.approx(0.5)
    assert value("over-refusal", "unseen, base right") == pytest.approx(0.5)
    assert value("over-refusal", "unseen, c>=.8") == pytest.approx(0.5)


def test_intrinsic_detection_and_its_banded_form() -> None:
    """Unknown: .1 (R), .3 (C). Refused: .8 .7 .1. Precision 1/3, recall 1/2. |c - .5| < .2 drops nothing: .7, .3 are at the edge."""
    assert value("refusal/intrinsic", "precision") == pytest.approx(1 / 3)
    assert value("refusal/intrinsic", "recall") == pytest.approx(1 / 2)
    assert value("refusal/intrinsic-banded", "precision") == pytest.approx(1 / 3)
    assert value("refusal/extrinsic", "recall") == pytest.approx(3 / 5)


def test_detection_over_all_items() -> None:
    """Seen and beyond, ten items, six refused. Beyond (5): three of them. Unknown or beyond (7): .1 and three; not: .8, .7 of 3."""
    assert value("refusal/extrinsic", "precision") == pytest.approx(3 / 6)
    assert value("refusal/extrinsic", "F1") == pytest.approx(2 * 3 / (6 + 5))
    assert value("refusal/extrinsic", "over-refusal") == pytest.approx(3 / 5)
    assert value("refusal/all", "precision") == pytest.approx(4 / 6)
    assert value("refusal/all", "recall") == pytest.approx(4 / 7)
    assert value("refusal/all", "F1") == pytest.approx(2 * 4 / (6 + 7))
    assert value("refusal/all", "over-refusal") == pytest.approx(2 / 3)
    assert value("refusal/intrinsic", "F1") == pytest.approx(2 * 1 / (3 + 2))


def test_scores_that_need_the_base() -> None:
    """Seen: C R R R C, known but the last two, base C C W W W. Truthful: C, the R at .1, C; strict without the C at .3. Right neither
    time: two, both refused; right before: two, one refused. Of the base's three errors two are refused and one is mended; a right answer
    is refused."""
    assert value("trust", "truthful answerable") == pytest.approx(3 / 5)
    assert value("trust", "truthful-strict answerable") == pytest.approx(2 / 5)
    assert value("trust", "truthful all") == pytest.approx(6 / 10)
    assert value("trust", "prudence") == pytest.approx(1.0)
    assert value("trust", "over-conservativeness") == pytest.approx(1 / 2)
    assert value("trust", "honesty") == pytest.approx(0.75)
    parts = {name: value("gain", name) for name in ("refused-wrong", "fixed", "refused-right", "broken", "gain")}
    assert list(parts.values()) == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0, 1.0])


def test_scores_have_value_interval_and_n_and_null_for_nothing() -> None:
    scores = score(ROWS, tau=0.5, held_out={"other-modality"}, resamples=50, seed=0)
    cell = scores["slices"]["answerable"]["T0"]
    assert cell["value"] == pytest.approx(0.4)
    assert cell["low"] <= 0.4 <= cell["high"]
    assert cell["n"] == 5
    assert scores["templates"] == {"vague-3": {"kind": "vague", "wording": "seen", "RefR": 1.0, "n": 1}}
    only_answerable = score(ROWS[:5], tau=0.5, held_out=(), resamples=50, seed=0)
    assert only_answerable["slices"]["unsolvable"]["RefR"] == {"value": None, "low": None, "high": None, "n": 0}
    assert only_answerable["slices"]["trust"]["T1 50/50"]["value"] is None


def test_confidence_quality_reads_the_bases_own_outcomes() -> None:
    """c = 1, .8 right; .7, .1, .3 wrong: AUROC 1. No fresh samples: that estimator is left out."""
    base = [graded(r.key, "C" if r.base_outcome == "CORRECT" else "W", confidence=r.confidence) for r in ROWS[:5]]
    quality = confidence_quality(Items.of(base), resamples=20, seed=0)
    assert set(quality) == {"c, greedy", "sequence probability, greedy"}
    assert quality["c, greedy"]["AUROC"].value == pytest.approx(1.0)
    assert quality["sequence probability, greedy"]["AUROC"].value == pytest.approx(0.5)


def test_a_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a-q0"):
        Items.of([ROWS[0], ROWS[0]])


def test_contrasts_are_about_answerable_questions_in_seen_wordings() -> None:
    """C R R R C, base C C W W W: Acc .4, RefR .6, nothing wrong. Rely .4 + .6 x .4 = .64; THS .4 - 0."""
    found = contrasts(Items.of(ROWS))["contrasts"]
    assert found["Rely"].value == pytest.approx(0.64) and found["THS"].value == pytest.approx(0.4)
    assert "contrasts" not in suite(Items.of(ROWS), tau=0.5, held_out=())
