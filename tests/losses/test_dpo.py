"""Preference losses: numbers known beforehand, identities between the variants, and what the dispatcher adds up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from inbol.config.training import DPO_LOSSES
from inbol.config.training import IMAGE_LOSSES as IMAGE_NAMES
from inbol.config.training import REFERENCE_FREE as FREE_NAMES
from inbol.losses.dpo import (
    PREFERENCE_LOSSES,
    chosen_probability,
    hard_loss,
    implicit_gap,
    margin_loss,
    nll_anchor,
    preference_loss,
    regression_loss,
    soft_loss,
    weight_loss,
)
from inbol.losses.image_terms import IMAGE_LOSSES
from inbol.losses.reference_free import REFERENCE_FREE

GAPS = torch.tensor([-30.0, -2.0, -0.5, 0.0, 0.5, 2.0, 30.0], dtype=torch.float64)


def call(name: str, *, policy: tuple[float, float], ref: tuple[float, float], c: float, answer: bool, **changed: Any) -> Any:
    """`preference_loss` of one pair of 2 chosen and 8 rejected tokens, beta 0.5, no anchor unless changed."""
    options: dict[str, Any] = {
        "beta": 0.5, "soft_eps": 0.0, "weight_gamma": 1.0, "margin_alpha": 1.0, "regression_kappa": 2.0,
        "anchor": 0.0, "anchor_normalise": "tokens",
    }  # fmt: skip
    return preference_loss(
        name,
        *(torch.tensor([x]) for x in (*policy, *ref)),
        num_tokens_chosen=torch.tensor([2]),
        num_tokens_rejected=torch.tensor([8]),
        confidence=torch.tensor([c]),
        answer_is_chosen=torch.tensor([answer]),
        **(options | changed),
    )


def test_the_dispatcher_knows_exactly_the_configured_names() -> None:
    assert (*PREFERENCE_LOSSES, *REFERENCE_FREE, *IMAGE_LOSSES) == DPO_LOSSES
    assert (REFERENCE_FREE, IMAGE_LOSSES) == (FREE_NAMES, IMAGE_NAMES)
    with pytest.raises(ValueError, match=r"dpo\.loss: 'sigmoid' is not one of 'hard'"):
        call("sigmoid", policy=(-1, -1), ref=(-1, -1), c=1, answer=True)


def test_hard_loss_worked_by_hand() -> None:
    """pi ratio -1 - (-4) = 3, reference ratio -2 - (-3) = 1, h = 2, u = .5 * 2 = 1, loss = ln(1 + 1/e) = 0.3132617."""
    loss, metrics = call("hard", policy=(-1, -4), ref=(-2, -3), c=0.3, answer=True)
    assert loss.item() == pytest.approx(0.3132617, abs=1e-6)
    assert {name: value.item() for name, value in metrics.items()} == {
        "rewards/chosen": 0.5,  # .5 * (-1 + 2)
        "rewards/rejected": -0.5,  # .5 * (-4 + 3)
        "rewards/margins": 1.0,
        "rewards/accuracies": 1.0,
        "logps/chosen": -1.0,
        "logps/rejected": -4.0,
    }


@pytest.mark.parametrize("c", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("answer", [True, False])
def test_policy_equal_to_reference_gives_known_numbers(c: float, answer: bool) -> None:
    """u = 0: hard and soft ln 2; weight |2c-1| ln 2; margin ln(1 + e^|2c-1|); regression (2 (2c-1))^2."""
    sure = abs(2 * c - 1)
    expected = {
        "hard": math.log(2),
        "soft": math.log(2),
        "weight": sure * math.log(2),
        "margin": math.log1p(math.exp(sure)),
        "regression": 4 * sure**2,
    }
    for name, value in expected.items():
        loss, metrics = call(name, policy=(-3, -7), ref=(-3, -7), c=c, answer=answer)
        assert loss.item() == pytest.approx(value, abs=1e-6), name
        assert metrics["rewards/margins"].item() == metrics["rewards/accuracies"].item() == 0


def test_soft_loss_worked_by_hand() -> None:
    """u = 1, c = .8: -log s(1) = .3132617, -log s(-1) = 1.3132617. Answer chosen, p = .8: .8 x .3132617 + .2 x 1.3132617 = .5132617.
    Refusal chosen, p = .2: 1.1132617. Clipped at eps .3, p = .7: .6132617."""
    pair: dict[str, Any] = {"policy": (-1, -4), "ref": (-2, -3), "c": 0.8}
    assert call("soft", answer=True, **pair)[0].item() == pytest.approx(0.5132617, abs=1e-6)
    assert call("soft", answer=False, **pair)[0].item() == pytest.approx(1.1132617, abs=1e-6)
    assert call("soft", answer=True, soft_eps=0.3, **pair)[0].item() == pytest.approx(0.6132617, abs=1e-6)


def test_weight_margin_and_regression_worked_by_hand() -> None:
    """u = 1, c = .8, answer chosen: |2c-1| = .6. B: .6 x .3132617 = .1879570; gamma 2: .36 x .3132617 = .1127742.
    C: ln(1 + e^-(1 - .6)) = .5130153. D: (1 - 2 x .6)^2 = .04; refusal chosen: (1 + 1.2)^2 = 4.84."""
    pair: dict[str, Any] = {"policy": (-1, -4), "ref": (-2, -3), "c": 0.8}
    assert call("weight", answer=True, **pair)[0].item() == pytest.approx(0.1879570, abs=1e-6)
    assert call("weight", answer=True, weight_gamma=2.0, **pair)[0].item() == pytest.approx(0.1127742, abs=1e-6)
    assert call("margin", answer=True, **pair)[0].item() == pytest.approx(0.5130153, abs=1e-6)
    assert call("regression", answer=True, **pair)[0].item() == pytest.approx(0.04, abs=1e-6)
    assert call("regression", answer=False, **pair)[0].item() == pytest.approx(4.84, abs=1e-5)


def test_regression_is_linear_far_from_its_target() -> None:
    """kappa 2, p = 1: t = 2, delta = 4. u = 12, r = 10: 2 x 4 x (10 - 2) = 64 instead of 100, slope 8 instead of 20."""
    gap = torch.tensor([12.0], requires_grad=True)
    loss = regression_loss(gap, torch.ones(1), kappa=2.0)
    assert loss.item() == pytest.approx(64.0)
    assert torch.autograd.grad(loss.sum(), gap)[0].item() == pytest.approx(8.0)
    with pytest.raises(ValueError, match="kappa: 0"):
        regression_loss(gap, torch.ones(1), kappa=0)


def test_soft_label_one_equals_hard_bit_for_bit() -> None:
    assert torch.equal(soft_loss(GAPS, torch.ones_like(GAPS), eps=0.0), hard_loss(GAPS))


def test_weight_gamma_zero_and_margin_alpha_zero_equal_hard_bit_for_bit() -> None:
    for p in (0.0, 0.5, 0.9, 1.0):
        label = torch.full_like(GAPS, p)
        assert torch.equal(weight_loss(GAPS, label, gamma=0.0), hard_loss(GAPS))
        assert torch.equal(margin_loss(GAPS, label, alpha=0.0), hard_loss(GAPS))


def test_the_fixed_point_of_the_soft_loss_is_the_logit_of_its_label() -> None:
    """dL/du = sigmoid(u) - p is 0 at u = logit(p), and the loss there is the entropy of p, its minimum."""
    p = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    gap = torch.logit(p).requires_grad_()
    loss = soft_loss(gap, p, eps=0.01)
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), gap)[0], torch.zeros_like(p))
    torch.testing.assert_close(loss, -p * p.log() - (1 - p) * (1 - p).log())


def test_soft_label_is_v_dpo_label_smoothing() -> None:
    """V-DPO smooths the hard label by eps = (1 - conf)/2; with conf = |2c-1| and the likelier side as label: the soft loss at p = c."""
    c = torch.linspace(0, 1, 11, dtype=torch.float64)
    for u in GAPS:
        smoothing = (1 - (2 * c - 1).abs()) / 2
        side = torch.where(c >= 0.5, u, -u)
        smoothed = -(1 - smoothing) * F.logsigmoid(side) - smoothing * F.logsigmoid(-side)
        torch.testing.assert_close(soft_loss(u.expand_as(c), c, eps=0.0), smoothed)


def test_duplicated_pairs_expect_the_confidence_mix() -> None:
    """A': of K = 10 sampled answers 7 are right and 3 wrong. Hard losses weighted n/K sum to .7 [-log s(u_right)] + .3 [-log s(-u_wrong)];
    with one answer string for both (u_right = u_wrong) that is the soft loss at c = .7."""
    u_right, u_wrong = torch.tensor(0.4, dtype=torch.float64), torch.tensor(-1.1, dtype=torch.float64)
    # distinct samples: right x 4, right x 3, wrong x 2, wrong x 1; the refusal is chosen over a wrong answer, so its gap turns round
    gaps = torch.stack([u_right, u_right, -u_wrong, -u_wrong])
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    torch.testing.assert_close((weights * hard_loss(gaps)).sum(), -0.7 * F.logsigmoid(u_right) - 0.3 * F.logsigmoid(-u_wrong))
    same = torch.stack([u_right, u_right, -u_right, -u_right])
    torch.testing.assert_close((weights * hard_loss(same)).sum(), soft_loss(u_right, torch.tensor(0.7, dtype=torch.float64), eps=0.0))


@pytest.mark.parametrize("name", ["soft", "regression"])
def test_label_free_losses_do_not_care_which_side_is_called_chosen(name: str) -> None:
    one = call(name, policy=(-1, -4), ref=(-2, -3), c=0.8, answer=True)[0]
    other = call(name, policy=(-4, -1), ref=(-3, -2), c=0.8, answer=False)[0]
    assert one.item() == pytest.approx(other.item(), abs=1e-6)


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
def test_the_reference_sends_no_gradient_and_metrics_are_detached(name: str) -> None:
    inputs = [torch.tensor([-float(n)], requires_grad=True) for n in (1, 4, 2, 3)]
    loss, metrics = preference_loss(
        name, inputs[0], inputs[1], inputs[2].detach(), inputs[3].detach(),
        num_tokens_chosen=torch.tensor([1]), num_tokens_rejected=torch.tensor([4]),
        confidence=torch.tensor([0.9]), answer_is_chosen=torch.tensor([True]),
        beta=0.5, soft_eps=0.05, weight_gamma=1.0, margin_alpha=1.0, regression_kappa=2.0, anchor=1.0, anchor_normalise="tokens",
    )  # fmt: skip
    loss.sum().backward()
    assert inputs[0].grad is not None
    assert inputs[0].grad.item() != 0
    assert inputs[2].grad is None
    assert not any(value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("name", PREFERENCE_LOSSES)
def test_extreme_log_probabilities_stay_finite(name: str) -> None:
    """Float32, gaps of +-100,000 and more: no overflow in the loss or its gradient, c = 0 and c = 1 included."""
    chosen = torch.tensor([-1e6, -1.0, -1e-30, -1e6], requires_grad=True)
    rejected = torch.tensor([-1.0, -1e6, -1e6, -1e6], requires_grad=True)
    loss, _ = preference_loss(
        name, chosen, rejected, torch.full((4,), -5.0), torch.full((4,), -5.0),
        num_tokens_chosen=torch.ones(4), num_tokens_rejected=torch.ones(4),
        confidence=torch.tensor([0.0, 1.0, 0.5, 1.0]), answer_is_chosen=torch.tensor([True, True, False, False]),
        beta=1.0, soft_eps=0.0, weight_gamma=0.5, margin_alpha=1.0, regression_kappa=2.0, anchor=1.0, anchor_normalise="tokens",
    )  # fmt: skip
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    for side in (chosen, rejected):
        assert side.grad is not None
        assert torch.isfinite(side.grad).all()


def test_anchor_worked_by_hand() -> None:
    """Chosen -6 over 2 tokens (3 nats a token), rejected -8 over 8 (1 a token). p = 1: 3, summed 6. p = .75: 2.25 + .25 = 2.5."""

    def anchor(p: float, normalise: str) -> float:
        sides = torch.tensor([-6.0]), torch.tensor([2]), torch.tensor([-8.0]), torch.tensor([8])
        return nll_anchor(*sides, torch.tensor([p]), normalise=normalise).item()

    assert (anchor(1, "tokens"), anchor(1, "sum"), anchor(0.75, "tokens"), anchor(0.75, "sum")) == (3.0, 6.0, 2.5, 6.5)
    with pytest.raises(ValueError, match="anchor_normalise: 'mean'"):
        anchor(1, "mean")


def test_the_anchor_is_added_hard_or_soft_as_the_loss_is() -> None:
    """Policy -6 (2 tokens) and -8 (8 tokens), c = .75, answer chosen, factor .1: hard adds .1 x 3, soft labels add .1 x 2.5.
    With the refusal chosen p = .25: .1 x (.75 + .75) = .15."""
    for name, answer, added in [
        ("hard", True, 0.3), ("weight", True, 0.3), ("margin", True, 0.3), ("soft", True, 0.25), ("regression", True, 0.25),
        ("hard", False, 0.3), ("soft", False, 0.15), ("regression", False, 0.15),
    ]:  # fmt: skip
        plain, _ = call(name, policy=(-6, -8), ref=(-5, -9), c=0.75, answer=answer)
        anchored, _ = call(name, policy=(-6, -8), ref=(-5, -9), c=0.75, answer=answer, anchor=0.1)
        assert (anchored - plain).item() == pytest.approx(added, abs=1e-6), (name, answer)


def test_orientation_of_the_label_probability() -> None:
    p = chosen_probability(torch.tensor([0.75, 0.75, 0.0]), torch.tensor([True, False, False]))
    assert p.tolist() == [0.75, 0.25, 1.0]


def test_gap_is_beta_times_the_difference_of_ratios() -> None:
    gap = implicit_gap(torch.tensor([-1.0]), torch.tensor([-4.0]), torch.tensor([-2.0]), torch.tensor([-3.0]), beta=0.25)
    assert gap.item() == 0.5
