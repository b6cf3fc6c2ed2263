"""Losses of a reward model, by hand."""

from __future__ import annotations

import pytest
import torch

from inbol.losses.reward_model import reward_loss


def test_bradley_terry() -> None:
    """Equal scores cost log 2; a margin of log 3 costs -log(3/4) = 0.287682, turned round log 4; a shift of both changes nothing."""
    log3 = torch.tensor(3.0).log()
    loss, metrics = reward_loss(torch.stack([torch.tensor(0.0), log3, -log3 + 7]), torch.tensor([0.0, 0.0, 7.0]), name="bradley-terry")
    assert loss.tolist() == pytest.approx([0.693147, 0.287682, 1.386294], rel=1e-5)
    assert metrics["rewards/accuracies"].tolist() == [0.0, 1.0, 0.0] and metrics["rewards/margins"][1].item() == pytest.approx(1.098612)


def test_binary() -> None:
    """Scores (log 3, -log 3): both right with 3/4, so -log(3/4); (0, 0): log 2; a shift matters."""
    log3 = torch.tensor(3.0).log()
    loss, _ = reward_loss(torch.stack([log3, torch.tensor(0.0), log3]), torch.stack([-log3, torch.tensor(0.0), log3]), name="binary")
    assert loss.tolist() == pytest.approx([0.287682, 0.693147, (0.287682 + 1.386294) / 2], rel=1e-5)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(torch.stack([log3, log3]), torch.tensor([1.0, 0.0]))
    assert loss[2].item() == pytest.approx(bce.item())


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'hinge' is not one of 'bradley-terry', 'binary'"):
        reward_loss(torch.zeros(1), torch.zeros(1), name="hinge")
