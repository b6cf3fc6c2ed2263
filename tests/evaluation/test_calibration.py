"""Calibration and risk-coverage against numbers worked by hand; ties must not depend on order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from inbol.evaluation import calibration as c
from inbol.evaluation.bootstrap import weight_blocks


def arrays(*values: list[float]) -> list[np.ndarray]:
    return [np.array(v, dtype=np.float64) for v in values]


def test_auroc_with_ties() -> None:
    """Right: .9, .5; wrong: .5, .1. Pairs: (.9, .5) 1, (.9, .1) 1, (.5, .5) 1/2, (.5, .1) 1 -> 3.5 / 4."""
    scores, labels = arrays([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
    assert c.evaluate(c.auroc, scores, labels) == pytest.approx(3.5 / 4)
    assert c.evaluate(c.auroc, scores, np.ones(4)) is None
    assert c.evaluate(c.auroc, scores[:0], labels[:0]) is None


def test_auroc_of_shares_equals_auroc_of_their_samples() -> None:
    """An item with 3 of 4 fresh samples right stands for three right and one wrong item of its score."""
    scores, shares = arrays([0.8, 0.3], [0.75, 0.25])
    samples, hits = arrays([0.8] * 4 + [0.3] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    assert c.evaluate(c.auroc, scores, shares) == pytest.approx(c.evaluate(c.auroc, samples, hits))
    assert c.evaluate(c.average_precision, scores, shares) == pytest.approx(c.evaluate(c.average_precision, samples, hits))
    assert c.evaluate(c.brier, scores, shares) == pytest.approx(c.evaluate(c.brier, samples, hits))
    assert c.evaluate(c.ece, scores, shares) == pytest.approx(c.evaluate(c.ece, samples, hits))


def test_average_precision_with_ties() -> None:
    """.9 right; .5 right and wrong; .1 wrong. Half of the right ones at precision 1, the other half at 2/3: 5/6, in any order of the tie.
    The wrong ones as positives, by falling confidence: .1 (precision 1), then .5 (2/3): 5/6 too."""
    scores, labels = arrays([0.9, 0.5, 0.5, 0.1], [1, 0, 1, 0])
    assert c.evaluate(c.average_precision, scores, labels) == pytest.approx(5 / 6)
    assert c.evaluate(c.average_precision, scores[[0, 2, 1, 3]], labels[[0, 2, 1, 3]]) == pytest.approx(5 / 6)
    assert c.evaluate(c.average_precision, -scores, 1 - labels) == pytest.approx(5 / 6)
    assert c.evaluate(c.average_precision, scores, np.ones(4)) == 1.0
    assert c.evaluate(c.average_precision, scores, np.zeros(4)) is None


def test_ece_and_brier() -> None:
    """Bin of .9: two items, half right, gap .4; bin of .1: two items, none right, gap .1 -> (2 x .4 + 2 x .1) / 4.
    Brier: (.01 + .81 + .01 + .01) / 4."""
    scores, labels = arrays([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0])
    assert c.evaluate(c.ece, scores, labels) == pytest.approx(0.25)
    assert c.evaluate(c.brier, scores, labels) == pytest.approx(0.21)


def test_a_score_of_one_falls_into_the_last_bin() -> None:
    assert c.evaluate(c.ece, *arrays([1.0, 1.0], [1, 1])) == pytest.approx(0.0)


def test_aurc_without_ties() -> None:
    """Order right, wrong, right: risks 0, 1/2, 1/3; AURC 5/18. Oracle: 0, 0, 1/3 -> 1/9."""
    scores, labels = arrays([0.9, 0.6, 0.3], [1, 0, 1])
    assert c.evaluate(c.aurc, scores, labels) == pytest.approx(5 / 18)
    assert c.evaluate(c.e_aurc, scores, labels) == pytest.approx(5 / 18 - 1 / 9)


def test_aurc_of_ties_is_the_mean_over_their_orders() -> None:
    labels = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    orders = [[0, *middle, 4] for middle in itertools.permutations([1, 2, 3])]
    by_hand = np.mean([np.mean(np.cumsum(1 - labels[order]) / np.arange(1, 6)) for order in orders])
    assert c.evaluate(c.aurc, scores, labels) == pytest.approx(by_hand)
    for order in orders:
        assert c.evaluate(c.aurc, scores[order], labels[order]) == pytest.approx(by_hand)


def test_weights_are_repetitions() -> None:
    """Weights 2, 1, 0, 3 give what a list with the items repeated so often gives, for every metric."""
    scores, labels = arrays([0.9, 0.7, 0.5, 0.2], [1, 0, 1, 0])
    times = [2, 1, 0, 3]
    for metric in (c.ece, c.brier, c.auroc, c.average_precision, c.aurc, c.e_aurc):
        weighted = metric(scores, labels, np.array([times], dtype=np.float64))[0]
        assert weighted == pytest.approx(c.evaluate(metric, np.repeat(scores, times), np.repeat(labels, times))), metric


def test_resampling_goes_by_image() -> None:
    """Items 0, 1 on image 0, item 2 on image 1: a resample is one of three weightings."""
    scores, labels = arrays([0.9, 0.1, 0.5], [1, 0, 1])
    samples = c.resample_metric(c.brier, scores, labels, np.array([0, 0, 1]), weight_blocks(2, resamples=150, seed=0))
    assert samples.shape == (150,)
    allowed = [0.01, 0.25, (0.02 + 0.25) / 3]
    assert {int(np.argmin(np.abs(np.array(allowed) - s))) for s in samples} == {0, 1, 2}
    assert max(min(abs(s - a) for a in allowed) for s in samples) < 1e-12


def test_risk_coverage_ends_at_tie_groups() -> None:
    """.9 right; .5 right and wrong; .1 wrong: coverage 1/4, 3/4, 1; risk 0, 1/3, 1/2."""
    curve = c.risk_coverage(*arrays([0.5, 0.9, 0.1, 0.5], [1, 1, 0, 0]))
    assert curve.coverage.tolist() == pytest.approx([0.25, 0.75, 1.0])
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 1 / 2])
    assert curve.threshold.tolist() == pytest.approx([0.9, 0.5, 0.1])
    with pytest.raises(ValueError, match="no items"):
        c.risk_coverage(*arrays([], []))
