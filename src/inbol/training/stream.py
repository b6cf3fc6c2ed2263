"""The order of training data, as arithmetic: which trees a rank reads at optimiser step s, micro-batch m.

Item i of the data loader is micro-batch i mod A of step i div A (A = accumulation); the trees of a step follow from (size, seed, step)
alone, so resuming is starting at another i, and neither ranks, accumulation nor workers change what a step sees. Within a step trees are
dealt by length, so that ranks have equal work and a micro-batch little padding; a sum does not ask for the order of its terms.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset, Sampler

from inbol.shards.order import Layout, positions
from inbol.shards.schedule import Schedule
from inbol.training.throughput import Counts

AHEAD = 8
"""Steps whose images are asked for before they are needed."""


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
    """What is trained: trees, weights, a loss. SFT, DPO and the tower's warm-up each are one.

    It may have two more methods: `prefetch(indices)` asks for what those trees will read, and `lost(visits)` names those whose image could
    not be read and which therefore weigh nothing.
    """

    size: int
    """Number of trees."""

    def denominator(self, visit: Visit) -> float:
        """What this visit adds to the global batch's denominator; from records alone, so every rank knows the whole sum."""

    def length(self, visit: Visit) -> int:
        """About how much work this visit is, in tokens beside the image's."""

    def collate(self, visits: list[Visit]) -> Any:
        """One micro-batch, on the CPU."""

    def counts(self, batch: Any) -> Counts:
        """Samples and tokens of a collated micro-batch."""

    def terms(self, model: Any, batch: Any) -> tuple[Tensor, dict[str, tuple[float, float]]]:
        """(sum of weighted losses, with gradient; metrics as (sum, count) to be added over micro-batches and ranks)."""

    def name(self, index: int) -> str:
        """What people call a tree: the key of its image, and of its question where that is a tree of its own."""

    def identity(self) -> dict[str, Any]:
        """What a checkpoint of this training is bound to, as JSON values: a hash of the records, and what the loss depends on."""


@dataclass(slots=True)
class MicroBatch:
    """What the data loader yields."""

    batch: Any
    denominator: float
    """Sum over the whole global batch: all ranks, all accumulation steps."""
    keys: list[int]
    """Tree indices, named when a loss is not finite."""
    counts: Counts = Counts()
    """What it holds."""
    places: list[int] = field(default_factory=list)
    """Of the trees in the sequence of their step, in [0, global batch)."""
    lost: list[str] = field(default_factory=list)
    """Names of the trees whose image could not be read."""


class StepStream(Dataset[MicroBatch]):
    """Micro-batches of one rank, by number."""

    def __init__(self, objective: Objective, layout: Layout, *, rank: int, schedule: Schedule) -> None:
        self.objective, self.layout, self.rank, self.schedule = objective, layout, rank, schedule
        self.seconds = 0.0
        self.asked = 0
        self._step: tuple[int, float, list[Visit], list[list[int]]] = (-1, 0.0, [], [])

    def __getitem__(self, item: int) -> MicroBatch:
        start = time.perf_counter()
        step, micro = divmod(item, self.layout.accumulation)
        if self._step[0] != step:
            sequence = self.visits(step)
            self._look_ahead(step)
            total = sum(self.objective.denominator(visit) for visit in sequence if visit.real)
            dealt = deal([self.objective.length(visit) for visit in sequence], self.layout, self.rank)
            self._step = step, total or 1.0, sequence, dealt  # all weights 0: the numerator is 0 too, and 0 / 0 would poison the weights
        _, denominator, sequence, dealt = self._step
        visits = [sequence[place] for place in dealt[micro]]
        batch = self.objective.collate(visits)
        lost = self.objective.lost(visits) if hasattr(self.objective, "lost") else []
        micro_batch = MicroBatch(batch, denominator, [visit.index for visit in visits], self.objective.counts(batch), dealt[micro], lost)
        self.seconds += time.perf_counter() - start
        return micro_batch

    def visits(self, step: int) -> list[Visit]:
        """The whole global batch of a step, in order; the same on every rank."""
        places = positions(step, 0, 0, global_batch=self.layout.global_batch, world_size=1, accumulation=1)
        indices, real = self.schedule.at(places)
        epoch = step // self.schedule.steps_per_epoch
        return [Visit(int(index), epoch, bool(r)) for index, r in zip(indices, real, strict=True)]

    def _look_ahead(self, step: int) -> None:
        """Ask for what the next steps will read. The order is known, so nothing is fetched that is not needed, and nothing twice."""
        prefetch = getattr(self.objective, "prefetch", None)
        if prefetch is not None:
            for ahead in range(max(self.asked, step + 1), step + 1 + AHEAD):
                prefetch([visit.index for visit in self.visits(ahead)])
            self.asked = step + 1 + AHEAD


def deal(lengths: Sequence[int], layout: Layout, rank: int) -> list[list[int]]:
    """Which places of a step's sequence a rank takes, by micro-batch.

    The longest trees make the first micro-batches, and those of one are dealt to the ranks in turn, back and forth: at no point of the
    step do ranks wait long for each other, and trees that share a micro-batch are of like length.

    Args:
        lengths: [global_batch] of the trees, in order.
        layout: of the global batch.
        rank: in [0, world_size).

    Returns:
        Per micro-batch, `layout.micro_batch` places in ascending order. Over all ranks and micro-batches every place occurs once.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    world, together = layout.world_size, layout.world_size * layout.micro_batch
    dealt = []
    for start in range(0, len(order), together):
        places = order[start : start + together]
        turns = [places[turn : turn + world][:: -1 if (turn // world) % 2 else 1] for turn in range(0, together, world)]
        dealt.append(sorted(turn[rank] for turn in turns))
    return dealt


class FromStep(Sampler[int]):
    """Micro-batch numbers from the trainer's current step on. Lazy: the loader is built before a resumed state is loaded."""

    def __init__(self, trainer: Any, accumulation: int) -> None:
        self.trainer, self.accumulation = trainer, accumulation

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.trainer.state.global_step * self.accumulation, self.trainer.args.max_steps * self.accumulation))

    def __len__(self) -> int:
        return int(self.trainer.args.max_steps) * self.accumulation
