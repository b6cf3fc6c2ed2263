"""Losses of a reward model: one score per response, learnt from preferences (Bradley-Terry) or from right and wrong (binary)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

REWARD_LOSSES = ("bradley-terry", "binary")


def reward_loss(chosen: Tensor, rejected: Tensor, *, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of each pair, unreduced, from the scores of its sides.

    Args:
        chosen: [P] scores of the preferred responses, in nats of log-odds.
        rejected: [P] scores of the others.
        name: `bradley-terry`: -log s(chosen - rejected), the loss of RLHF's reward models (arXiv 2203.02155, eq. 1) and of TRL's
            `RewardTrainer`. `binary`: each side by itself, (-log s(chosen) - log s(-rejected)) / 2, label 1 and 0, as UAlign's reward
            model (arXiv 2412.11803) is trained.

    Returns:
        ([P] nats, metrics [P] under TRL's names: `rewards/chosen`, `rewards/rejected`, `rewards/margins`, `rewards/accuracies`).

    Raises:
        ValueError: unknown name.
    """
    margin = chosen - rejected
    if name == "bradley-terry":
        loss = -F.logsigmoid(margin)
    elif name == "binary":
        loss = -(F.logsigmoid(chosen) + F.logsigmoid(-rejected)) / 2
    else:
        raise ValueError(f"name: {name!r} is not one of {', '.join(map(repr, REWARD_LOSSES))}")
    sides = {"chosen": chosen, "rejected": rejected, "margins": margin, "accuracies": (margin > 0).to(margin.dtype)}
    return loss, {f"rewards/{side}": value.detach() for side, value in sides.items()}
