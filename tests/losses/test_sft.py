"""The weighted terms of the supervised loss: worked numbers, and the invariants the caller's denominator rests on."""

from __future__ import annotations

import pytest
import torch

from inbol.losses.sft import sft_loss, weighted_terms


def test_weighted_terms_worked_by_hand() -> None:
    """Losses 2, 3, 10 with weights 1, .5, 0 and 4, 2, 7 tokens: 2 + 1.5 + 0 = 3.5; 1.5 examples; 4 + 1 + 0 = 5 tokens."""
    loss = sft_loss(torch.tensor([-2.0, -3.0, -10.0]))
    assert loss.tolist() == [2.0, 3.0, 10.0]
    terms = weighted_terms(loss, torch.tensor([1.0, 0.5, 0.0]), torch.tensor([4, 2, 7]))
    assert [term.item() for term in terms] == [3.5, 1.5, 5.0]


def test_two_micro_batches_add_up_to_one() -> None:
    """Numbers that are sums of powers of two, so that equality is exact."""
    loss, weights, tokens = torch.tensor([1.0, 2.0, 4.0, 0.5]), torch.tensor([1.0, 0.5, 0.0, 2.0]), torch.tensor([1, 2, 3, 4])
    whole = weighted_terms(loss, weights, tokens)
    halves = [weighted_terms(loss[part], weights[part], tokens[part]) for part in (slice(0, 2), slice(2, 4))]
    assert [sum(term).item() for term in zip(*halves, strict=True)] == [term.item() for term in whole]


def test_weight_one_equals_the_plain_mean_bit_for_bit() -> None:
    loss = torch.randn(7, generator=torch.Generator().manual_seed(1))
    terms = weighted_terms(loss, torch.ones(7), torch.ones(7, dtype=torch.long))
    assert terms.numerator.item() == loss.sum().item()
    assert (terms.examples.item(), terms.tokens.item()) == (7.0, 7.0)


def test_a_zero_weight_sends_no_gradient() -> None:
    logps = torch.tensor([-1.0, -2.0], requires_grad=True)
    weighted_terms(sft_loss(logps), torch.tensor([0.0, 3.0]), torch.tensor([1, 1])).numerator.backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [0.0, -3.0]


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        weighted_terms(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3))
