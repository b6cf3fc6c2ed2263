"""What is not finite stops a step before it is taken; the ranks' agreement is held by test_kills.py."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from inbol.training.finite import FiniteGuard


def guard(world_size: int = 1) -> FiniteGuard:
    return FiniteGuard(world_size, lambda index: f"image-{index}")


def test_a_finite_loss_is_left_as_it_is() -> None:
    loss = torch.tensor(2.0, requires_grad=True)
    assert guard().watch(loss, 1, [0]) is loss


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_has_a_gradient_of_nan(value: float) -> None:
    """Its own gradient, of weight + constant, is a finite 1, which would tell the other ranks nothing."""
    weight = torch.tensor(1.0, requires_grad=True)
    guard(2).watch(weight + value, 1, [0]).backward()
    assert weight.grad is not None and math.isnan(weight.grad)


def test_a_single_rank_stops_at_once() -> None:
    with pytest.raises(FloatingPointError, match=r"^loss is inf at step 7, trees \[image-2, image-0\]; no step was taken"):
        guard().watch(torch.tensor(math.inf), 7, [2, 0])


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_the_norm_stops_the_optimiser(norm: float) -> None:
    """DeepSpeed's where there is one, that of the gradients where not; the trees are those of this step alone, of all micro-batches."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    watched = guard()
    watched.watch(torch.tensor(1.0), 1, [9])
    weight.grad = torch.ones(2)
    watched.step_hook(SimpleNamespace(_global_grad_norm=1.0), optimizer, 1)
    watched.end_step(False, 1)
    for trees in ([1], [2, 3]):
        watched.watch(torch.tensor(1.0), 2, trees)
    with pytest.raises(FloatingPointError, match=r"^the gradient is not finite at step 2, .*: \[image-1, image-2, image-3\]; no step"):
        watched.step_hook(SimpleNamespace(_global_grad_norm=norm), optimizer, 2)
    optimizer.register_step_pre_hook(lambda inner, *_: watched.step_hook(None, inner, 3))
    watched.watch(torch.tensor(1.0), 3, [1])
    weight.grad = torch.tensor([1.0, norm])
    with pytest.raises(FloatingPointError, match="at step 3"):
        optimizer.step()
    assert weight.tolist() == [1.0, 1.0]


def test_a_skipped_step_stops_too() -> None:
    watched = guard()
    watched.watch(torch.tensor(1.0), 1, [1])
    watched.end_step(False, 1)
    with pytest.raises(FloatingPointError, match="at step 1"):
        watched.end_step(True, 1)


def test_many_trees_are_not_all_named() -> None:
    with pytest.raises(FloatingPointError, match=r"image-31, \.\.\. \(40 in all\)\]"):
        guard().watch(torch.tensor(math.nan), 1, list(range(40)))
