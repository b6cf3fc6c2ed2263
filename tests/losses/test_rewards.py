"""The ternary reward and the advantages it gives, worked by hand."""

from __future__ import annotations

import pytest
import torch
from advantages import EPSILON, group_advantages

from inbol.contracts import Outcome
from inbol.losses.rewards import ternary_reward

C, R, W = Outcome.CORRECT, Outcome.REFUSED, Outcome.WRONG


def rewards(outcomes: list[Outcome], *, answerable: bool = True, **values: float) -> list[float]:
    return [ternary_reward(outcome, answerable=answerable, **values) for outcome in outcomes]


def test_what_an_outcome_is_worth() -> None:
    """TruthRL: +1, 0, -1 on what can be answered. Beyond the image +1 for a refusal, -1 for all else."""
    assert rewards([C, R, W]) == [1.0, 0.0, -1.0]
    assert rewards([R, W], answerable=False) == [1.0, -1.0]
    assert rewards([C, R, W], refused=0.25, wrong=-2.0) == [1.0, 0.25, -2.0]
    with pytest.raises(ValueError, match="CORRECT beyond the image"):
        rewards([C], answerable=False)


def test_a_refusal_gains_among_wrong_answers_and_loses_beside_a_correct_one() -> None:
    """The paper's point. (0, -1, -1, -1): mean -3/4, s = 1/2; (0 + 3/4) / s = 1.5, the wrong ones -0.5. (0, 1, -1, -1): mean -1/4,
    s = sqrt(11/12) = 0.957427, the refusal 0.261. (0, 1, 1, 1): mean 3/4, s = 1/2, the refusal -1.5. (0, 1, 1, -1): mean 1/4, the refusal
    -0.261."""
    assert group_advantages(rewards([R, W, W, W])) == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-3)
    assert group_advantages(rewards([R, C, W, W]))[0] == pytest.approx(0.25 / 0.957427, rel=1e-3)
    assert group_advantages(rewards([R, C, C, C])) == pytest.approx([-1.5, 0.5, 0.5, 0.5], rel=1e-3)
    assert group_advantages(rewards([R, C, C, W]))[0] == pytest.approx(-0.25 / 0.957427, rel=1e-3)


def test_a_binary_reward_cannot_tell_refusing_from_being_wrong() -> None:
    binary = group_advantages(rewards([R, W, W, C], refused=-1.0))
    assert binary[0] == binary[1] and group_advantages(rewards([R, W, W, C]))[0] > group_advantages(rewards([R, W, W, C]))[1]


def test_equal_responses_teach_nothing() -> None:
    assert group_advantages(rewards([W, W, W])) == [0.0, 0.0, 0.0]


def test_advantages_are_those_of_torch() -> None:
    """Invariant under a shift; the same as (r - r.mean()) / (r.std() + 1e-4), TRL's formula."""
    given = rewards([R, W, C, W, R, C, C, W], refused=0.3)
    r = torch.tensor(given, dtype=torch.float64)
    assert group_advantages(given) == pytest.approx(((r - r.mean()) / (r.std() + EPSILON)).tolist())
    assert group_advantages([one + 5 for one in given]) == pytest.approx(group_advantages(given))
