"""Agreement by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inbol.judging.agreement import agreement, cohen_kappa


def test_kappa_by_hand() -> None:
    """Cohen's own layout: both 20, one alone 5, other alone 10, neither 15 of 50: p_o = .7, p_e = .5 x .6 + .5 x .4 = .5, kappa = .4."""
    one = [True] * 25 + [False] * 25
    other = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(one, other, [str(n) for n in range(50)], resamples=500, seed=0)
    assert found["counts"] == {"neither": 15, "other alone": 10, "one alone": 5, "both": 20}
    assert found["agreement"]["value"] == pytest.approx(0.7) and found["kappa"]["value"] == pytest.approx(0.4)
    # standard error of p_o: sqrt(.7 x .3 / 50) = .065
    assert found["agreement"]["low"] == pytest.approx(0.7 - 1.96 * 0.065, abs=0.03)
    assert 0.1 < found["kappa"]["low"] < 0.4 < found["kappa"]["high"] < 0.7


def test_kappa_from_the_confusion_matrix() -> None:
    """Against the definition on paired labels, with the confusion matrix computed another way."""
    rng = np.random.default_rng(0)
    one, other = rng.random(200) < 0.4, rng.random(200) < 0.5
    confusion = np.array([[np.mean((one == a) & (other == b)) for b in (False, True)] for a in (False, True)])
    expected = (np.trace(confusion) - confusion.sum(0) @ confusion.sum(1)) / (1 - confusion.sum(0) @ confusion.sum(1))
    assert agreement(list(one), list(other), ["i"] * 200, resamples=10, seed=0)["kappa"]["value"] == pytest.approx(expected)


def test_items_of_one_image_fail_together() -> None:
    """Twenty items of two images, right in one and wrong in the other: the interval is that of two draws, [0, 1]."""
    found = agreement([True] * 20, [True] * 10 + [False] * 10, ["a"] * 10 + ["b"] * 10, resamples=200, seed=0)
    assert (found["agreement"]["low"], found["agreement"]["high"]) == (0.0, 1.0)


def test_no_kappa_where_chance_always_agrees() -> None:
    assert np.isnan(cohen_kappa(np.array([[5.0, 0, 0, 0]])))[0]
    found = agreement([False] * 5, [False] * 5, list("abcde"), resamples=10, seed=0)
    assert found["agreement"]["value"] == 1.0 and found["kappa"]["value"] is None
    assert agreement([], [], [], resamples=10, seed=0)["n"] == 0
