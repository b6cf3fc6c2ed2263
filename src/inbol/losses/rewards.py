"""What a sampled response is worth, and how far above its group that is: the two formulas of on-policy training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from inbol.contracts import Outcome

EPSILON = 1e-4
"""Added to the spread of a group, as TRL's `GRPOTrainer` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Worth of an outcome. On answerable questions TruthRL's ternary reward (arXiv 2509.25760): +1, 0, -1; beyond the image, ours."""

    correct: float = 1.0
    refused: float = 0.0
    """r_ref."""
    wrong: float = -1.0
    """-lambda."""
    beyond_refused: float = 1.0
    """Beyond the image, a refusal is the right response."""
    beyond_wrong: float = -1.0
    """Beyond the image, everything else."""


def ternary_reward(outcome: Outcome, *, answerable: bool, values: Values) -> float:
    """The worth of one response. Raises ValueError for a correct answer to a question that has none."""
    if answerable:
        return {Outcome.CORRECT: values.correct, Outcome.REFUSED: values.refused, Outcome.WRONG: values.wrong}[outcome]
    if outcome is Outcome.CORRECT:
        raise ValueError("outcome: CORRECT beyond the image, where no answer is; only a refusal is right there")
    return values.beyond_refused if outcome is Outcome.REFUSED else values.beyond_wrong


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """[G] advantages of the G responses to one question: (r - mean) / (s + 1e-4), s with G - 1 (GRPO, arXiv 2402.03300, as TRL has it).

    All 0 where all responses are worth the same: such a question teaches nothing. Raises ValueError for fewer than two rewards.
    """
    if len(rewards) < 2:
        raise ValueError(f"rewards: {len(rewards)} of a question; an advantage needs a group of at least 2")
    mean, spread = fmean(rewards), stdev(rewards)
    return [(reward - mean) / (spread + EPSILON) for reward in rewards]
