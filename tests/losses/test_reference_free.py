"""SimPO and ORPO: numbers by hand, and TRL's own code as oracle."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inbol.losses.reference_free import orpo_loss, reference_free_loss, simpo_loss

CHOSEN = torch.tensor([-0.1, -1.0, -3.0, -0.693, -1e-4, -20.0])
REJECTED = torch.tensor([-2.0, -1.0, -0.5, -0.694, -5.0, -1e-3])


def call(name: str, chosen: float = -2.0, rejected: float = -8.0, **changed: Any) -> Any:
    """One pair of 2 chosen and 4 rejected tokens: -1 and -2 nats a token."""
    options: dict[str, Any] = {"beta": 2.0, "simpo_gamma": 0.5, "anchor": 0.0, "anchor_normalise": "tokens"}
    return reference_free_loss(
        name,
        torch.tensor([chosen]),
        torch.tensor([rejected]),
        num_tokens_chosen=torch.tensor([2]),
        num_tokens_rejected=torch.tensor([4]),
        **(options | changed),
    )


def test_simpo_worked_by_hand() -> None:
    """2 x (-1 + 2) - .5 = 1.5; -log s(1.5) = ln(1 + e^-1.5) = .2014133. With an anchor of .1: + .1 x 1 nat a token."""
    loss, metrics = call("simpo")
    assert loss.item() == pytest.approx(0.2014133, abs=1e-6)
    assert {name: value.item() for name, value in metrics.items()} == {
        "rewards/chosen": -2.0,
        "rewards/rejected": -4.0,
        "rewards/margins": 2.0,
        "rewards/accuracies": 1.0,
        "logps/chosen": -2.0,
        "logps/rejected": -8.0,
    }
    assert call("simpo", anchor=0.1)[0].item() == pytest.approx(0.3014133, abs=1e-6)


def test_orpo_worked_by_hand() -> None:
    """P = e^-1 = .3678794 and e^-2 = .1353353; odds .5819767 and .1565176; ln(1 + .1565176 / .5819767) = ln 1.2689414 = .2381830. By beta,
    and 1 nat a token."""
    assert call("orpo", beta=0.5)[0].item() == pytest.approx(1 + 0.5 * 0.2381830, abs=1e-6)


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (0.1, 0.5), (2.5, 0.0)])
def test_simpo_equals_trl(beta: float, gamma: float) -> None:
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    trl = SimpleNamespace(
        alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=0.0, accelerator=SimpleNamespace(device="cpu")
    )
    expected, chosen, rejected = CPOTrainer.cpo_loss(trl, CHOSEN, REJECTED)
    torch.testing.assert_close(simpo_loss(CHOSEN, REJECTED, beta=beta, gamma=gamma), expected, atol=1e-5, rtol=1e-5)
    ones = torch.ones_like(CHOSEN)
    _, metrics = reference_free_loss(
        "simpo", CHOSEN, REJECTED, num_tokens_chosen=ones, num_tokens_rejected=ones, beta=beta, simpo_gamma=gamma, anchor=0.0,
        anchor_normalise="sum",
    )  # fmt: skip
    torch.testing.assert_close(metrics["rewards/chosen"], chosen)
    torch.testing.assert_close(metrics["rewards/rejected"], rejected)


def test_the_odds_ratio_equals_trl() -> None:
    """TRL's `odds_ratio_loss` is what is subtracted from the NLL; values and gradients."""
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    trl = SimpleNamespace(beta=0.3, accelerator=SimpleNamespace(device="cpu"))
    theirs, ours = ([side.clone().requires_grad_() for side in (CHOSEN, REJECTED)] for _ in range(2))
    expected = -theirs[0] - ORPOTrainer.odds_ratio_loss(trl, *theirs)[0]
    loss = orpo_loss(*ours, beta=0.3)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for side, own in zip(theirs, ours, strict=True):
        (wanted,) = torch.autograd.grad(expected.sum(), side, retain_graph=True)
        (found,) = torch.autograd.grad(loss.sum(), own, retain_graph=True)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_a_certain_or_hopeless_response_stays_finite(name: str) -> None:
    """Log-probability 0 has infinite odds; -1e6 has none."""
    chosen = torch.tensor([0.0, -1e6, -1e-30, 0.0], requires_grad=True)
    rejected = torch.tensor([-1e6, 0.0, 0.0, 0.0], requires_grad=True)
    ones = torch.ones(4)
    loss, metrics = reference_free_loss(
        name, chosen, rejected, num_tokens_chosen=ones, num_tokens_rejected=ones, beta=1.0, simpo_gamma=0.5, anchor=0.0,
        anchor_normalise="tokens",
    )  # fmt: skip
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in (chosen, rejected))
    assert not any(value.requires_grad for value in metrics.values())


def test_equal_sides_give_known_numbers() -> None:
    """SimPO ln(1 + e^gamma), ORPO 1 nat a token + beta ln 2."""
    assert call("simpo", rejected=-4.0)[0].item() == pytest.approx(math.log1p(math.exp(0.5)), abs=1e-6)
    assert call("orpo", rejected=-4.0, beta=0.5)[0].item() == pytest.approx(1 + 0.5 * math.log(2), abs=1e-6)
    with pytest.raises(ValueError, match=r"dpo\.loss: 'hard' is not one of 'simpo', 'orpo'"):
        call("hard")
