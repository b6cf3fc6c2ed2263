"""The tower's warm-up: labels that are not told, and repeats, add nothing."""

from __future__ import annotations

import math

import torch
from torch import nn

from inbol.training.tower import UNKNOWN, TowerBatch, TowerObjective


class Uniform(nn.Module):
    """Equal logits for two attributes, of 3 and of 8 classes."""

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        return [torch.zeros(len(pixel_values), 3), torch.zeros(len(pixel_values), 8)]


def test_loss_and_accuracy_by_hand() -> None:
    """Image 0 tells both attributes, image 1 the second alone, image 2 is a repeat: ln 3 + ln 8 + ln 8. argmax of equal logits is class 0:
    attribute 0 is right once of once, attribute 1 once of twice."""
    batch = TowerBatch(torch.zeros(3, 3, 4, 4), torch.tensor([[0, 0], [UNKNOWN, 5], [0, 0]]), torch.tensor([1.0, 1.0, 0.0]))
    objective = TowerObjective([(0, 0)], lambda index, epoch: None, None)
    total, metrics = objective.terms(Uniform(), batch)
    assert math.isclose(float(total), math.log(3) + 2 * math.log(8), rel_tol=1e-6)
    assert metrics == {"accuracy/attribute_0": (1.0, 1.0), "accuracy/attribute_1": (1.0, 2.0)}
