"""Streams with the plain order: every tree once an epoch."""

from __future__ import annotations

from typing import Any

from inbol.shards.order import Layout
from inbol.shards.schedule import Schedule
from inbol.training.stream import StepStream


def stream_of(objective: Any, layout: Layout, *, rank: int, seed: int) -> StepStream:
    """The stream of one rank over an objective."""
    schedule = Schedule(samples=objective.size, global_batch=layout.global_batch, seed=seed)
    return StepStream(objective, layout, rank=rank, schedule=schedule)
