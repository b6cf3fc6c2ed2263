"""The order of training data, as arithmetic: which trees a rank reads at optimiser step s, micro-batch m.

Item i of the data loader is micro-batch i mod A of step i div A (A = accumulation); the trees in it follow from (size, seed, i, rank)
alone, so resuming is starting at another i, and neither ranks, accumulation nor workers change what a step sees.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset, Sampler

from inbol.shards.order import Layout, positions, samples_at, steps_per_epoch


@dataclass(frozen=True, slots=True)
class Visit:
    """One tree at its place in the sequence."""

    index: int
    """Which tree, in [0, size)."""
    epoch: int
    """Which pass over the data."""
    real: bool
    """False for the repeats that fill the last batch of an epoch; they weigh nothing."""


class Objective(Protocol):
    """What is trained: trees, weights, a loss. SFT, DPO and the tower's warm-up each are one."""

    size: int
    """Number of trees."""

    def denominator(self, visit: Visit) -> float:
        """What this visit adds to the global batch's denominator; from records alone, so every rank knows the whole sum."""

    def collate(self, visits: list[Visit]) -> Any:
        """One micro-batch, on the CPU."""

    def terms(self, model: Any, batch: Any) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """(sum of weighted losses, with gradient; metrics as (sum, count) to be added over micro-batches and ranks)."""


@dataclass(slots=True)
class MicroBatch:
    """What the data loader yields."""

    batch: Any
    denominator: float
    """Sum over the whole global batch: all ranks, all accumulation steps."""
    keys: list[int]
    """Tree indices, named when a loss is not finite."""


class StepStream(Dataset[MicroBatch]):
    """Micro-batches of one rank, by number."""

    def __init__(self, objective: Objective, layout: Layout, *, rank: int, seed: int) -> None:
        self.objective, self.layout, self.rank, self.seed = objective, layout, rank, seed
        self.seconds = 0.0
        self._denominator: tuple[int, float] = (-1, 0.0)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one pass; the last one may hold repeats of weight 0."""
        return steps_per_epoch(self.objective.size, self.layout.global_batch)

    def __getitem__(self, item: int) -> MicroBatch:
        start = time.perf_counter()
        step, micro = divmod(item, self.layout.accumulation)
        sequence = self.visits(step)
        mine = positions(
            0,
            micro,
            self.rank,
            global_batch=self.layout.global_batch,
            world_size=self.layout.world_size,
            accumulation=self.layout.accumulation,
        )
        visits = [sequence[p] for p in mine]
        if self._denominator[0] != step:
            total = sum(self.objective.denominator(visit) for visit in sequence if visit.real)
            self._denominator = step, total or 1.0  # all weights 0: the numerator is 0 too, and 0 / 0 would poison the weights
        micro_batch = MicroBatch(self.objective.collate(visits), self._denominator[1], [visit.index for visit in visits])
        self.seconds += time.perf_counter() - start
        return micro_batch

    def visits(self, step: int) -> list[Visit]:
        """The whole global batch of a step, in order; the same on every rank."""
        places = positions(step, 0, 0, global_batch=self.layout.global_batch, world_size=1, accumulation=1)
        indices, real = samples_at(places, n=self.objective.size, seed=self.seed, global_batch=self.layout.global_batch)
        epoch = step // self.steps_per_epoch
        return [Visit(int(index), epoch, bool(r)) for index, r in zip(indices, real, strict=True)]


class FromStep(Sampler[int]):
    """Micro-batch numbers from the trainer's current step on. Lazy: the loader is built before a resumed state is loaded."""

    def __init__(self, trainer: Any, accumulation: int) -> None:
        self.trainer, self.accumulation = trainer, accumulation

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.trainer.state.global_step * self.accumulation, self.trainer.args.max_steps * self.accumulation))

    def __len__(self) -> int:
        return int(self.trainer.args.max_steps) * self.accumulation
