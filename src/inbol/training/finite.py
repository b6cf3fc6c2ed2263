"""Losses and gradients that are not finite: every rank stops before the optimiser moves, and all say where it was.

A rank that stopped alone would leave the others waiting in their next collective. So a rank with such a loss goes on to the end of the
step with a loss that makes its gradient nan; the gradient's norm, which DeepSpeed reduces over the ranks anyway, carries the news, and
costs no communication of its own. Nothing is saved then: DeepSpeed has counted the step, and a checkpoint with its counts would not
continue like the others; the last regular checkpoint stays, and is at most `save_steps` steps old.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from inbol.training.ranks import gathered

SHOWN = 32
"""So many trees of a rank are named."""


class FiniteGuard:
    """Watches the micro-batches of a step."""

    def __init__(self, world_size: int, name: Callable[[int], str]) -> None:
        """`name`: of a tree, by index."""
        self.world_size, self.name = world_size, name
        self.seen: list[int] = []
        self.bad: list[str] = []
        self.step = 0
        self.checked = False

    def watch(self, numerator: Tensor, step: int, trees: Sequence[int]) -> Tensor:
        """The loss of a micro-batch as it is, or, where it is not finite, one whose gradient is nan.

        Args:
            numerator: scalar, with gradient.
            step: that is being taken, from 1 on.
            trees: indices of the micro-batch's.

        Raises:
            FloatingPointError: it is not finite, and this is the only rank.
        """
        if step != self.step:
            self.step, self.seen, self.bad = step, [], []
        self.seen += trees
        self.checked = False
        if torch.isfinite(numerator.detach()):
            return numerator
        self.bad.append(f"loss is {numerator.item()} at step {step}, trees [{self._names(trees)}]")
        if self.world_size == 1:
            self.stop(step)
        return numerator * math.nan

    def step_hook(self, zero: Any, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Just before the first parameter moves: stop if the gradient's norm over all ranks is not finite.

        Args:
            zero: DeepSpeed's optimiser, which has reduced the norm; None without.
            optimizer: torch's, with the reduced gradients.
            step: that is being taken, from 1 on.
        """
        if self.checked:
            return  # ZeRO takes a step for each group of parameters; the norm is that of all
        norm = getattr(zero, "_global_grad_norm", None)
        if norm is None:
            grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
        self.checked = True
        if not math.isfinite(float(norm)):
            self.stop(step)

    def end_step(self, skipped: bool, step: int) -> None:
        """After DeepSpeed's step: stop if it was skipped, which in fp32 and bf16 has no other cause.

        Args:
            skipped: DeepSpeed has found an overflow, and not moved; the same on all ranks.
            step: that was to be taken, from 1 on.
        """
        if skipped or self.bad:
            self.stop(step)

    def stop(self, step: int) -> NoReturn:
        """Tell each other what was seen, and stop. Called by all ranks at the same place."""
        everyone = gathered((self.bad, self._names(self.seen)), self.world_size)
        where = (lambda rank: f" on rank {rank}") if self.world_size > 1 else (lambda rank: "")
        said = [f"{text}{where(rank)}" for rank, (bad, _) in enumerate(everyone) for text in bad]
        if not said:
            said = [f"the gradient is not finite at step {step}, though every loss is"]
            said += [f"trees of the step{where(rank)}: [{seen}]" for rank, (_, seen) in enumerate(everyone)]
        raise FloatingPointError(f"{'; '.join(said)}; no step was taken, the last checkpoint stays as it is")

    def _names(self, trees: Sequence[int]) -> str:
        named = ", ".join(self.name(tree) for tree in trees[:SHOWN])
        return f"{named}, ... ({len(trees)} in all)" if len(trees) > SHOWN else named
