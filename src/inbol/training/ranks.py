"""What the ranks tell each other beside gradients: small Python objects, and waits for one that works on a checkpoint.

Over gloo, on GPUs too: the objects are on the CPU, and the first of them are exchanged before a rank knows its device.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=1)
"""How long ranks wait for one that hashes or converts a checkpoint; the process group's own limit is made for steps. A rank that dies is
noticed at once."""


@cache
def _group() -> Any:
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def gathered(value: Any, world_size: int) -> list[Any]:
    """`value` of every rank, by rank, on every rank."""
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    dist.all_gather_object(values, value, group=_group())
    return values


def any_of(flag: bool, world_size: int) -> bool:
    """Whether `flag` is set on any rank, the same on every rank; one number is exchanged."""
    if world_size == 1:
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, op=dist.ReduceOp.MAX, group=_group())
    return bool(found)


def barrier(world_size: int) -> None:
    """Wait for every rank."""
    if world_size > 1:
        dist.barrier(group=_group())
