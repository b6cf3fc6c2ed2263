"""Our metrics against scikit-learn's, where it has the metric: on ties, on weights, and on refusals as detection.

The numbers below are scikit-learn 1.9.1's (and SciPy 1.17.1's) on the data below, so that every run compares with them; where scikit-learn
is installed (`pip install -c constraints.txt -e '.[oracles]'`), it is asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inbol.evaluation import calibration as c
from inbol.evaluation import metrics as m
from inbol.evaluation.bootstrap import interval, mean_interval, resample

RNG = np.random.default_rng(20)
SCORES = RNG.integers(0, 21, size=300) / 20
LABELS = (RNG.random(300) < SCORES**2).astype(np.float64)
WEIGHTS = RNG.integers(0, 4, size=300).astype(np.float64)
SMOOTH = RNG.random(300)
V = RNG.choice([1, 0, -1], p=[0.5, 0.3, 0.2], size=300).astype(np.int8)
DUE = RNG.random(300) < 0.4

# as scikit-learn 1.9.1 gives them
EXPECTED = {
    "roc_auc_score": 0.9043844247056393,
    "roc_auc_score, weighted": 0.8959985701199759,
    "average_precision_score": 0.8130953204529626,
    "average_precision_score, weighted": 0.7937322614697075,
    "average_precision_score of the wrong": 0.9482607721305172,
    "brier_score_loss": 0.1496666666666667,
    "brier_score_loss, weighted": 0.15890350877192982,
    "calibration_curve": 0.30824857824394386,
    "precision_score": 0.37349397590361444,
    "recall_score": 0.248,
    "f1_score": 0.2980769230769231,
}


def weighted(metric: c.Metric, scores: np.ndarray = SCORES, labels: np.ndarray = LABELS) -> float:
    return float(metric(scores, labels, WEIGHTS[None])[0])


OURS: dict[str, Callable[[], float | None]] = {
    "roc_auc_score": lambda: c.evaluate(c.auroc, SCORES, LABELS),
    "roc_auc_score, weighted": lambda: weighted(c.auroc),
    "average_precision_score": lambda: c.evaluate(c.average_precision, SCORES, LABELS),
    "average_precision_score, weighted": lambda: weighted(c.average_precision),
    "average_precision_score of the wrong": lambda: c.evaluate(c.average_precision, -SCORES, 1 - LABELS),
    "brier_score_loss": lambda: c.evaluate(c.brier, SCORES, LABELS),
    "brier_score_loss, weighted": lambda: weighted(c.brier),
    "calibration_curve": lambda: c.evaluate(c.ece, SMOOTH, LABELS),
    "precision_score": lambda: m.refusal_precision(V, DUE).value,
    "recall_score": lambda: m.refusal_recall(V, DUE).value,
    "f1_score": lambda: m.refusal_f1(V, DUE).value,
}


def theirs(name: str) -> float:
    """What the library says; the ECE is put together from its calibration curve."""
    library: Any = pytest.importorskip("sklearn.metrics")
    function, _, how = name.partition(",")
    if name == "calibration_curve":
        share, mean = pytest.importorskip("sklearn.calibration").calibration_curve(LABELS, SMOOTH, n_bins=15)
        counts = np.histogram(SMOOTH, bins=15, range=(0, 1))[0]
        return float(np.sum(counts[counts > 0] / 300 * np.abs(share - mean)))
    if name.endswith("of the wrong"):
        return float(library.average_precision_score(1 - LABELS, -SCORES))
    if function in ("precision_score", "recall_score", "f1_score"):
        return float(getattr(library, function)(DUE, V == 0))
    return float(getattr(library, function)(LABELS, SCORES, sample_weight=WEIGHTS if how else None))


@pytest.mark.parametrize("name", EXPECTED)
def test_ours_is_theirs(name: str) -> None:
    assert OURS[name]() == pytest.approx(EXPECTED[name], abs=1e-12)


def test_theirs_is_what_is_written_here() -> None:
    assert {name: theirs(name) for name in EXPECTED} == pytest.approx(EXPECTED, abs=1e-12)


def test_shares_are_weighted_labels() -> None:
    """A share y is y of a right and 1 - y of a wrong one, as sample weights say it to the library."""
    library = pytest.importorskip("sklearn.metrics")
    shares = np.round(SMOOTH, 1)
    scores, labels, weights = np.r_[SCORES, SCORES], np.r_[np.ones(300), np.zeros(300)], np.r_[shares, 1 - shares]
    for ours, function in ((c.auroc, "roc_auc_score"), (c.average_precision, "average_precision_score"), (c.brier, "brier_score_loss")):
        expected = getattr(library, function)(labels, scores, sample_weight=weights)
        assert c.evaluate(ours, SCORES, shares) == pytest.approx(expected), function


def test_the_bootstrap_is_that_of_scipy() -> None:
    """Percentile intervals of a mean and of T0, one item an image: SciPy's are (0.4267, 0.54) and (0.15, 0.3333) with 9,999 resamples
    of its own; two such intervals differ by less than .01, a sixth of the half-width."""
    x, image = (V == 1).astype(np.float64), np.arange(300)
    ours = [mean_interval(x, image, num_images=300), interval(resample([m.t0(V)], image, num_images=300, resamples=2000, seed=0)[:, 0])]
    expected = [(0.4267, 0.54), (0.15, 0.3333)]
    for found, written in zip(ours, expected, strict=True):
        assert found == pytest.approx(written, abs=0.01)
