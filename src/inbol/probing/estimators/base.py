"""What an estimator is: a name, what its number means, what it asks, and one pure function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from inbol.contracts import Reply
from inbol.probing.asks import Ask, Evidence

Score = Callable[[Evidence], float]
"""From all that is known about one answerable question to its score. Larger is surer, always; never NaN. Where the model refuses, nothing
is said that could be right, and the score is the estimator's lowest."""
Fit = Callable[[Sequence[Evidence], float], Score]
"""From the evidence of `align-train` and a ridge to the fitted estimator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """One estimator; exactly one of `estimate` and `fit` is given."""

    name: str
    """As in `confidence=<name>`."""
    title: str
    """As printed."""
    source: str
    """Where it is from: arXiv id, or that it is ours."""
    unit: str
    """What the number is, and between which ends."""
    probability: bool
    """Whether the number claims to be the probability of being right, in [0, 1]: then tau is held against it as it is and it has an ECE
    and a Brier score. Otherwise only its order counts, and a map onto [0, 1] is fitted on align-val (`probing/calibrate.py`)."""
    asks: tuple[Ask, ...] = ()
    """What it needs beyond the samples, in the order of asking."""
    estimate: Score | None = None
    fit: Fit | None = None
    """Instead of `estimate`, for one that is trained."""

    def __post_init__(self) -> None:
        if (self.estimate is None) == (self.fit is None):
            raise ValueError(f"estimator {self.name}: exactly one of estimate and fit is needed")


def normalised(reply: Reply) -> dict[str, float]:
    """Probability of each continuation of a scored reply among those that were offered; sums to 1."""
    highest = max(reply.logprobs)
    weights = [math.exp(logprob - highest) for logprob in reply.logprobs]
    return {text: weight / sum(weights) for text, weight in zip(reply.texts, weights, strict=True)}


def entropy(shares: Mapping[str, float]) -> float:
    """Entropy in nats of shares that sum to 1."""
    return max(0.0, -sum(p * math.log(p) for p in shares.values() if p > 0))
