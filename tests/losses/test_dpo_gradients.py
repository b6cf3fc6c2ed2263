"""The gradient table of the confidence-aware losses: dL/du_a by autograd, and where 200 steps of gradient descent lead.

u_a is the gap answer - refusal; dL/du_a < 0 pushes towards answering. alpha = kappa = 2, gamma = 1, label probability p = c, hard label
s = +1 (answer) where c >= 1/2. The losses are called as training calls them, on chosen - rejected, so the orientation is tested too.

By hand, with sigma the logistic function: A sigma(u) - c; B -(|2c-1|) s sigma(-s u); C -s sigma(2|2c-1| - s u); D 2 (u - 2 (2c-1)).
GDPO, -log sigma((2c-1) u), stands here for comparison alone: -(2c-1) sigma(-(2c-1) u).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from inbol.losses.dpo import chosen_probability, margin_loss, regression_loss, soft_loss, weight_loss

CONFIDENCES = (0.0, 0.25, 0.5, 0.75, 1.0)


def oriented(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, float], Tensor]:
    """The loss as a function of (u_a, c), with the likelier side as the chosen one."""

    def of_answer_gap(u: Tensor, c: float) -> Tensor:
        answer_is_chosen = torch.tensor([c >= 0.5])
        p = chosen_probability(torch.tensor([c], dtype=u.dtype), answer_is_chosen)
        return loss(u if c >= 0.5 else -u, p).sum()

    return of_answer_gap


LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "A": oriented(lambda gap, p: soft_loss(gap, p, eps=0.0)),
    "B": oriented(lambda gap, p: weight_loss(gap, p, gamma=1.0)),
    "GDPO": lambda u, c: -F.logsigmoid((2 * c - 1) * u).sum(),
    "C": oriented(lambda gap, p: margin_loss(gap, p, alpha=2.0)),
    "D": oriented(lambda gap, p: regression_loss(gap, p, kappa=2.0)),
}


def gradient(name: str, u: float, c: float) -> float:
    gap = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    return float(torch.autograd.grad(LOSSES[name](gap, c), gap)[0])


def descend(name: str, c: float, steps: int = 200) -> float:
    """u_a after gradient descent from the reference, learning rate .5, for D .05."""
    u = 0.0
    for _ in range(steps):
        u -= (0.05 if name == "D" else 0.5) * gradient(name, u, c)
    return u


@pytest.mark.parametrize(
    ("name", "u", "expected"),
    [
        ("A", 0.0, (0.500, 0.250, 0.0, -0.250, -0.500)),
        ("B", 0.0, (0.500, 0.250, 0.0, -0.250, -0.500)),
        ("GDPO", 0.0, (0.500, 0.250, 0.0, -0.250, -0.500)),
        ("C", 0.0, (0.881, 0.731, -0.500, -0.731, -0.881)),
        ("D", 0.0, (4.0, 2.0, 0.0, -2.0, -4.0)),
        ("A", 2.0, (0.881, 0.631, 0.381, 0.131, -0.119)),
        ("B", 2.0, (0.881, 0.440, 0.0, -0.060, -0.119)),
        ("C", 2.0, (0.982, 0.953, -0.119, -0.269, -0.500)),
        ("D", 2.0, (8.0, 6.0, 4.0, 2.0, 0.0)),
    ],
)
def test_gradient_at_the_reference_and_after_moving_towards_answering(name: str, u: float, expected: tuple[float, ...]) -> None:
    actual = [gradient(name, u, c) for c in CONFIDENCES]
    assert actual == pytest.approx(expected, abs=6e-4)  # the table has three decimals


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A", (-4.6, -1.1, 0.0, 1.1, 4.6)),
        ("B", (-4.6, None, 0.0, None, 4.6)),
        ("GDPO", (-4.6, None, 0.0, None, 4.6)),
        ("C", (-6.6, None, 4.6, None, 6.6)),
        ("D", (-2.0, -1.0, 0.0, 1.0, 2.0)),
    ],
)
def test_limits_after_200_steps(name: str, expected: tuple[float | None, ...]) -> None:
    """None: drifts, that is, further out than the soft label's fixed point logit(.75) = 1.1 and still moving away."""
    assert len(expected) == len(CONFIDENCES)
    for c, limit in zip(CONFIDENCES, expected, strict=True):
        reached = descend(name, c)
        if limit is not None:
            assert reached == pytest.approx(limit, abs=0.05), c
        else:
            assert math.copysign(1, reached) == math.copysign(1, c - 0.5)
            assert abs(reached) > 1.5
            assert gradient(name, reached, c) * reached < 0


def test_the_final_gap_of_gdpo_is_not_monotone_in_confidence() -> None:
    """c = .7 reaches 6.7, c = 1 only 4.6: why GDPO is not among the losses."""
    assert descend("GDPO", 0.7) == pytest.approx(6.7, abs=0.05)
    assert descend("GDPO", 1.0) == pytest.approx(4.6, abs=0.05)
