"""Does a calibration keep its promise? Recorded responses are split by image again and again: one half calibrates, the other is looked at.

The halves of different draws share images, and the other half is itself finite: its risk scatters around the one that is promised about.
So the share of the draws below the level is an observation about these responses, and no test of the theorem
(a simulation in the tests is).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inbol.evaluation.metrics import Floats
from inbol.evaluation.risk_control import Promise, Responses, achieved, choose


@dataclass(frozen=True, slots=True)
class Splits:
    """What came of D draws."""

    draws: int
    risk: Floats
    """[P] on the other half, of the P draws in which a threshold could be promised; nan where nothing was answered."""
    coverage: Floats
    """[P]."""

    @property
    def promised(self) -> int:
        """P."""
        return len(self.risk)

    def below(self, level: float) -> int:
        """Draws of P whose other half had a risk of at most `level`, or answered nothing."""
        return int(np.sum(~(self.risk > level)))


def pool(parts: list[Responses]) -> Responses:
    """The responses of several splits, which share no image."""
    offsets = np.cumsum([0, *(part.images for part in parts)])
    return Responses(
        image=np.concatenate([part.image + offset for part, offset in zip(parts, offsets)]),
        score=np.concatenate([part.score for part in parts]),
        value=np.concatenate([part.value for part in parts]),
        answerable=np.concatenate([part.answerable for part in parts]),
    )


def random_splits(responses: Responses, promise: Promise, *, draws: int = 100, seed: int = 0) -> Splits:
    """Calibrate on a random half of the images and look at the other, `draws` times."""
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float]] = []
    for _ in range(draws):
        order = rng.permutation(responses.images)
        calibrate, look = responses.of(order[: len(order) // 2]), responses.of(order[len(order) // 2 :])
        if (choice := choose(calibrate, promise)) is not None:
            risk, coverage = achieved(look, choice.threshold, promise)
            found.append((np.nan if risk is None else risk, coverage))
    table = np.array(found, dtype=np.float64).reshape(-1, 2)
    return Splits(draws, table[:, 0], table[:, 1])
