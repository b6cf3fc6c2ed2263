"""The control row: the base refuses where the probability of its own response is below a level chosen on a validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inbol.evaluation.metrics import Floats, Values


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level and what it was worth where it was chosen."""

    level: float
    """Responses with exp(logprob) below it become refusals; 0 refuses nothing."""
    t0: float
    """T0 on the validation items at this level."""
    t0_unthresholded: float
    """T0 on the validation items without a level."""
    n: int
    """Validation items."""


def choose_threshold(probability: Floats, value: Values) -> Threshold:
    """The level that maximises T0; of equally good levels the one that answers most.

    Args:
        probability: [N] exp of the summed log-probability of each response, in [0, 1].
        value: [N] +1 correct, 0 refused, -1 wrong, of the responses as they are.

    Raises:
        ValueError: no items.
    """
    if not len(probability):
        raise ValueError("threshold: no answerable question in a seen wording on the validation split to choose the level on")
    order = np.argsort(-probability, kind="stable")
    p = probability[order]
    kept = np.concatenate([[0], np.cumsum(value[order], dtype=np.int64)])  # kept[k]: T0 sum when the k most probable are answered
    ends = np.concatenate([[True], p[1:] != p[:-1], [True]])  # equal probabilities are kept or refused together
    best = max(np.flatnonzero(ends), key=lambda k: (kept[k], k))
    if best == len(p):
        level = 0.0
    elif best == 0:
        level = float(np.nextafter(p[0], np.inf))
    else:
        level = float((p[best - 1] + p[best]) / 2)
    n = len(p)
    return Threshold(level=level, t0=float(kept[best]) / n, t0_unthresholded=float(kept[n]) / n, n=n)
