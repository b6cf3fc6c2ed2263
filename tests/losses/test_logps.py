"""Token log-probabilities and their sums, by hand and against an independent expression."""

from __future__ import annotations

import math

import pytest
import torch

from inbol.losses.logps import num_tokens, sum_by_response, token_logps


def test_token_logps_worked_by_hand() -> None:
    """Logits (0, ln 3): probabilities 1/4 and 3/4. Equal logits over four tokens: 1/4 each."""
    logits = torch.tensor([[0.0, math.log(3), -math.inf, -math.inf], [7.0, 7.0, 7.0, 7.0]])
    torch.testing.assert_close(token_logps(logits, torch.tensor([1, 2])), torch.tensor([math.log(3 / 4), math.log(1 / 4)]))


def test_token_logps_equal_cross_entropy_and_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 11, generator=generator, requires_grad=True)
    targets = torch.randint(11, (5,), generator=generator)
    expected = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    actual = token_logps(logits, targets)
    torch.testing.assert_close(actual, expected)
    (gradient,) = torch.autograd.grad(actual.sum(), logits, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0])


def test_half_precision_logits_give_float32_and_double_stays_double() -> None:
    targets = torch.tensor([0])
    assert token_logps(torch.zeros(1, 3, dtype=torch.bfloat16), targets).dtype == torch.float32
    assert token_logps(torch.zeros(1, 3, dtype=torch.float64), targets).dtype == torch.float64


def test_an_ignore_index_is_refused_rather_than_counted_as_zero() -> None:
    with pytest.raises(RuntimeError):
        token_logps(torch.zeros(1, 3), torch.tensor([-100]))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        token_logps(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))


def test_sums_and_counts_do_not_depend_on_the_order_of_tokens() -> None:
    """Responses 0: -1 -4; 1: none; 2: -2 -3 -5."""
    logps = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0])
    index = torch.tensor([0, 2, 2, 0, 2])
    order = torch.tensor([3, 1, 4, 0, 2])
    for picked in (slice(None), order):
        assert sum_by_response(logps[picked], index[picked], 3).tolist() == [-5.0, 0.0, -10.0]
        assert num_tokens(index[picked], 3).tolist() == [2, 0, 3]


def test_the_gradient_of_a_sum_reaches_its_own_tokens_alone() -> None:
    logps = torch.zeros(4, requires_grad=True)
    sums = sum_by_response(logps, torch.tensor([0, 1, 1, 0]), 2)
    (gradient,) = torch.autograd.grad(sums[1], logps)
    assert gradient.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_an_empty_batch_is_allowed() -> None:
    assert token_logps(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)
    assert sum_by_response(torch.zeros(0), torch.zeros(0, dtype=torch.long), 2).tolist() == [0.0, 0.0]
