"""From a score that is no probability to one: isotonic regression on `align-val`, which is also how its threshold is chosen.

m(s), the non-decreasing function closest in squares to the shares that are right, is fitted by pooling adjacent violators. A question is
KNOWN where m(s) >= tau, that is from one threshold on; at tau = 1/2 no other threshold has a higher sum of 2y - 1 over the questions that
it keeps, y the share that is right (a block is kept exactly when its mean gains).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A step function, constant beyond its ends."""

    starts: tuple[float, ...]
    """[B] lowest score of each block, rising."""
    values: tuple[float, ...]
    """[B] its share of right answers, rising."""

    def __call__(self, score: float) -> float:
        """m(score), in [0, 1]; between two blocks that of the lower one."""
        return self.values[max(0, int(np.searchsorted(self.starts, score, side="right")) - 1)]

    def threshold(self, tau: float) -> float | None:
        """The lowest score with m >= tau; None where there is none."""
        return next((start for start, value in zip(self.starts, self.values, strict=True) if value >= tau), None)


def isotonic(scores: Sequence[float], shares: Sequence[float]) -> Isotonic:
    """Fit on scores [N] and shares in [0, 1] [N]; equal scores are one point.

    Raises:
        ValueError: no scores.
    """
    if not len(scores):
        raise ValueError("calibration: no answerable question in align-val to fit on; give the source images for align-val")
    starts, which, counts = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True, return_counts=True)
    sums = np.bincount(which, weights=np.asarray(shares, dtype=np.float64))
    blocks: list[list[float]] = []  # [start, sum, count]
    for start, total, count in zip(starts.tolist(), sums.tolist(), counts.tolist(), strict=True):
        blocks.append([start, total, count])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            _, more, items = blocks.pop()
            blocks[-1][1] += more
            blocks[-1][2] += items
    return Isotonic(tuple(block[0] for block in blocks), tuple(block[1] / block[2] for block in blocks))
