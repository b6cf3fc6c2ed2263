from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbol.probing.calibrate import isotonic

POINTS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=12)


def test_by_hand() -> None:
    """Shares 0, 1, .5, 1 at scores 1, 2, 3, 4: 1 and .5 violate the order and pool to .75 from score 2 on."""
    fitted = isotonic([3, 1, 4, 2], [0.5, 0.0, 1.0, 1.0])
    assert (fitted.starts, fitted.values) == ((1.0, 2.0, 4.0), (0.0, 0.75, 1.0))
    assert [fitted(s) for s in (0.0, 1.9, 2.0, 3.9, 4.0, 9.0)] == [0.0, 0.0, 0.75, 0.75, 1.0, 1.0]
    assert (fitted.threshold(0.5), fitted.threshold(0.8), isotonic([1, 2], [0.1, 0.2]).threshold(0.5)) == (2.0, 4.0, None)
    with pytest.raises(ValueError, match="no answerable question in align-val"):
        isotonic([], [])


@settings(max_examples=50, deadline=None)
@given(POINTS)
def test_no_other_threshold_gains_more(points: list[tuple[int, int]]) -> None:
    """At tau = 1/2: the sum of 2y - 1 over what is kept is the largest of all thresholds. Equal scores are kept together."""
    scores, shares = np.array([s for s, _ in points], float), np.array([y / 4 for _, y in points])
    threshold = isotonic(scores, shares).threshold(0.5)

    def gain(t: float | None) -> float:
        return 0.0 if t is None else float((2 * shares - 1)[scores >= t].sum())

    assert gain(threshold) == max([0.0, *(gain(t) for t in scores)])


@settings(max_examples=50, deadline=None)
@given(POINTS)
def test_it_rises_and_keeps_the_mean_whatever_the_order(points: list[tuple[int, int]]) -> None:
    scores, shares = [float(s) for s, _ in points], [y / 4 for _, y in points]
    fitted = isotonic(scores, shares)
    assert list(fitted.values) == sorted(fitted.values) and list(fitted.starts) == sorted(fitted.starts)
    assert np.mean([fitted(s) for s in scores]) == pytest.approx(np.mean(shares))
    assert isotonic(scores[::-1], shares[::-1]) == fitted


def test_it_is_that_of_scikit_learn() -> None:
    library = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 40, size=200).astype(float)
    shares = np.clip(scores / 40 + rng.normal(size=200) * 0.3, 0, 1)
    expected = library.IsotonicRegression().fit(scores, shares).predict(scores)
    fitted = isotonic(scores, shares)
    assert [fitted(s) for s in scores] == pytest.approx(expected)
