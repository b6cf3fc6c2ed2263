"""The advantages of GRPO (arXiv 2402.03300) as TRL has them, written from the formula: what its trainer is held against."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

EPSILON = 1e-4
"""Added to the spread of a group, as TRL's `GRPOTrainer` does."""


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """[G] advantages of the G responses to one question: (r - mean) / (s + 1e-4), s with G - 1; all 0 where all are worth the same."""
    mean, spread = fmean(rewards), stdev(rewards)
    return [(reward - mean) / (spread + EPSILON) for reward in rewards]
