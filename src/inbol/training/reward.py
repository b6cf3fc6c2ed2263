"""What a reward model trains: preference pairs as trees, and the loss on the scores of their sides.

TRL's `RewardTrainer` takes no images, so the head and its loss ride on the trees and the trainer of SFT and DPO.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from inbol.losses.reward_model import reward_loss
from inbol.models.reward import HEAD, response_scores
from inbol.training.objectives import DpoBatch, DpoObjective, PairTrees


class RewardObjective(DpoObjective):
    """Scores instead of log-probabilities; the rest of a pair's way is that of DPO without a reference."""

    def __init__(self, trees: PairTrees, *, loss: str) -> None:
        """`loss`: name in `losses/reward_model.py`. Raises ValueError for pairs with an altered image."""
        if trees.altered:
            raise ValueError(f"pairs.altered: {trees.altered!r}; a reward model looks at the image itself alone, take ''")
        self.trees, self.reference, self.loss = trees, None, {"name": loss}
        self.size = len(trees.groups)

    def identity(self) -> dict[str, Any]:
        """See `Objective.identity`."""
        return {**super().identity(), "objective": "reward"}

    def terms(self, model: Any, batch: DpoBatch) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """See `Objective.terms`."""
        scores = response_scores(model, batch.trees)
        loss, metrics = reward_loss(scores[batch.chosen], scores[batch.rejected], name=self.loss["name"])
        weight = batch.values["weight"].to(loss.device)
        total = float(weight.sum())
        return (weight * loss).sum(), {name: (float((weight * value).sum()), total) for name, value in metrics.items()}


def take_head(trainer: Any, model: Any, folder: Path, zero_stage: int) -> None:
    """Write the head into `folder` and take it off the model, which is then exported as any other. Called by all ranks."""
    parameters = dict(model.reward_head.named_parameters())
    if zero_stage == 3:
        import deepspeed

        whole = deepspeed.zero.GatheredParameters(list(parameters.values()))
    else:
        whole = nullcontext()
    with whole:
        if trainer.is_world_process_zero():
            part = folder / f".{HEAD}.part"
            save_file({name: parameter.detach().cpu().contiguous().clone() for name, parameter in parameters.items()}, str(part))
            part.rename(folder / HEAD)
    if trainer.args.world_size > 1:
        dist.barrier()
    del model.reward_head
