"""The level of the threshold row."""

from __future__ import annotations

import numpy as np
import pytest

from inbol.evaluation.threshold import choose_threshold


def choose(probability: list[float], value: list[int]):
    return choose_threshold(np.array(probability), np.array(value, dtype=np.int8))


def test_level_lies_between_the_last_kept_and_the_first_refused() -> None:
    """By falling probability: +1 +1 -1 -1: best keeps two, T0 = 2/4 against 0 without a level."""
    best = choose([0.2, 0.9, 0.8, 0.4], [-1, 1, 1, -1])
    assert best.level == pytest.approx(0.6)
    assert (best.t0, best.t0_unthresholded, best.n) == (0.5, 0.0, 4)


def test_equal_probabilities_are_refused_together() -> None:
    """Keeping one of the two at .5 would be best, but cannot be: +1 | +1 -1 | -1 keeps 1 or 3, both worth 1; answering more wins."""
    best = choose([0.9, 0.5, 0.5, 0.1], [1, 1, -1, -1])
    assert best.level == pytest.approx(0.3)
    assert best.t0 == pytest.approx(0.25)


def test_nothing_is_refused_when_everything_pays() -> None:
    assert choose([0.9, 0.1], [1, 1]).level == 0.0


def test_everything_is_refused_when_nothing_pays() -> None:
    best = choose([1.0, 0.1], [-1, -1])
    assert best.level > 1.0
    assert best.t0 == 0.0


def test_no_items_are_an_error() -> None:
    with pytest.raises(ValueError, match="threshold"):
        choose([], [])
