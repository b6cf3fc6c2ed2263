"""mDPO and V-DPO: numbers by hand, and where they are DPO."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from inbol.losses.dpo import hard_loss
from inbol.losses.image_terms import image_loss, mdpo_loss, v_dpo_loss

H_W, H_L, A_W, A_L = (torch.tensor([value]) for value in (2.0, -1.0, 0.5, -0.25))


def call(name: str, **changed: Any) -> Any:
    """Log-ratios 2, -1 below the image and .5, -.25 below the altered one."""
    options: dict[str, Any] = {"beta": 0.5, "image_gamma": 2.0, "anchor_margin": 0.0, "anchor": 0.0, "anchor_normalise": "tokens"}
    ref = torch.tensor([-4.0])
    return image_loss(
        name,
        ref + H_W,
        ref + H_L,
        ref,
        ref,
        altered_chosen_logps=ref + A_W,
        altered_rejected_logps=ref + A_L,
        ref_altered_chosen_logps=ref,
        ref_altered_rejected_logps=ref,
        num_tokens_chosen=torch.tensor([2]),
        num_tokens_rejected=torch.tensor([5]),
        **(options | changed),
    )


def test_mdpo_worked_by_hand() -> None:
    """beta .5: -log s(1.5) = .2014133, -log s(.75) = .3868710 (2 - .5), -log s(1) = .3132617; sum .9015460.
    Margin 1: -log s(0) = .6931472."""
    loss, metrics = call("mdpo")
    assert loss.item() == pytest.approx(0.9015460, abs=1e-6)
    assert call("mdpo", anchor_margin=1.0)[0].item() == pytest.approx(0.2014133 + 0.3868710 + 0.6931472, abs=1e-6)
    assert metrics["rewards/image_margins"].item() == 0.75 and metrics["rewards/margins"].item() == 1.5
    # the anchor of the other losses comes on top: chosen -2 over 2 tokens
    assert call("mdpo", anchor=0.1)[0].item() == pytest.approx(0.9015460 + 0.1, abs=1e-6)


def test_v_dpo_worked_by_hand() -> None:
    """gamma 2: 2 x 3 - 1 x .75 = 5.25, beta .5: -log s(2.625) = ln(1 + e^-2.625) = .0699764."""
    assert call("v-dpo")[0].item() == pytest.approx(math.log1p(math.exp(-2.625)), abs=1e-6)
    assert torch.equal(v_dpo_loss(H_W, H_L, A_W, A_L, beta=0.5, gamma=1.0), hard_loss(0.5 * (H_W - H_L)))


def test_at_the_reference() -> None:
    """3 ln 2 and ln 2."""
    zero = torch.zeros(1)
    assert mdpo_loss(zero, zero, zero, beta=0.5, margin=0.0).item() == pytest.approx(3 * math.log(2))
    assert v_dpo_loss(zero, zero, zero, zero, beta=0.5, gamma=3.0).item() == pytest.approx(math.log(2))


def test_what_the_image_adds_is_what_is_rewarded() -> None:
    """mDPO falls when the chosen side is likelier below the image alone, and rises when it is below the altered one alone."""
    h_w, a_w = H_W.clone().requires_grad_(), A_W.clone().requires_grad_()
    down, up = torch.autograd.grad(mdpo_loss(h_w, H_L, a_w, beta=0.5, margin=0.0).sum(), (h_w, a_w))
    assert down.item() < 0 < up.item()
    with pytest.raises(ValueError, match=r"dpo\.loss: 'hard' is not one of 'mdpo', 'v-dpo'"):
        call("hard")
