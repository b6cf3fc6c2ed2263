"""Which sample stands where: arithmetic, so that resuming is a jump and the number of ranks never changes a batch.

The samples of all epochs form one endless sequence of global positions. An epoch of n samples takes `padded(n)` positions, n rounded up
to whole global batches; the positions past n repeat samples of the same epoch and are marked not real (they train with weight 0).
Optimiser step s takes the positions [s * global_batch, (s + 1) * global_batch), so no batch straddles two epochs.

**Shuffle.** Up to `Shuffle.window` samples are permuted as a whole. More are cut into blocks of `Shuffle.block` neighbours; the blocks are
permuted, and then all samples of as many blocks as fill a window. So a sample may come anywhere in an epoch, two samples of a block come
within a window of each other, and reads stay within the window / block runs of neighbours that a window is made of. Kept in memory are
8 bytes for each block of the epoch and for each sample of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a global batch is spread."""

    global_batch: int
    """Trees per optimiser step."""
    world_size: int
    micro_batch: int
    """Trees per rank and forward pass."""

    @property
    def accumulation(self) -> int:
        """Forward passes per optimiser step and rank."""
        return self.global_batch // (self.world_size * self.micro_batch)


def spread(global_batch: int, world_size: int, largest_micro: int) -> Layout:
    """The layout with the largest micro-batch that is not above `largest_micro` and divides a rank's share.

    Raises:
        ValueError: the ranks do not divide the global batch.
    """
    if global_batch % world_size:
        raise ValueError(
            f"a global batch of {global_batch} trees does not divide over {world_size} ranks; choose a multiple of {world_size}"
        )
    share = global_batch // world_size
    micro = max(m for m in range(1, min(share, largest_micro) + 1) if share % m == 0)
    return Layout(global_batch, world_size, micro)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """How far samples are moved; see the module."""

    block: int = 256
    """Neighbours that stay within a window of each other."""
    window: int = 2**20
    """Samples that are permuted among each other, at least `block`."""

    def __post_init__(self) -> None:
        if self.block < 1 or self.window < self.block:
            raise ValueError(f"a shuffle needs 1 <= block <= window, got block {self.block} and window {self.window}")


WHOLE = Shuffle()
"""Permutes data of usual size as a whole."""


@lru_cache(maxsize=4)
def epoch_order(n: int, seed: int, epoch: int) -> IntArray:
    """[n] a permutation of 0..n-1, a pure function of its arguments (read-only, cached)."""
    order: IntArray = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=4)
def _window(n: int, seed: int, epoch: int, shuffle: Shuffle, number: int) -> IntArray:
    """[<= window] the samples of one window of an epoch, in order."""
    blocks = epoch_order(-(-n // shuffle.block), seed, epoch)
    together = shuffle.window // shuffle.block
    starts = blocks[number * together : (number + 1) * together] * shuffle.block
    members = (starts[:, None] + np.arange(shuffle.block)).ravel()
    order: IntArray = np.random.default_rng([seed, epoch, 1, number]).permutation(members[members < n])
    order.flags.writeable = False
    return order


def at_places(within: IntArray, *, n: int, seed: int, epoch: int, shuffle: Shuffle = WHOLE) -> IntArray:
    """[m] samples, in 0..n-1, that stand at the places `within` [m], in 0..n-1, of an epoch.

    A pure function whose cost does not depend on the places: the order of the blocks, and the windows that are touched.
    """
    if n <= shuffle.window:
        return epoch_order(n, seed, epoch)[within]
    blocks = epoch_order(-(-n // shuffle.block), seed, epoch)
    together = shuffle.window // shuffle.block
    full = together * shuffle.block
    # every block is full but the data's last one, so windows behind the one that holds it begin earlier by what it lacks
    lacking = len(blocks) * shuffle.block - n
    short = int(np.flatnonzero(blocks == len(blocks) - 1)[0]) // together
    shifted = np.where(within >= (short + 1) * full - lacking, within + lacking, within)
    numbers, inside = np.divmod(shifted, full)
    samples = np.empty(len(within), dtype=np.int64)
    for number in np.unique(numbers):
        here = numbers == number
        samples[here] = _window(n, seed, epoch, shuffle, int(number))[inside[here]]
    return samples


def padded(n: int, global_batch: int) -> int:
    """Positions of an epoch: n rounded up to a multiple of `global_batch`."""
    return -(-n // global_batch) * global_batch


def steps_per_epoch(n: int, global_batch: int) -> int:
    """Optimiser steps of an epoch."""
    return -(-n // global_batch)


def positions(step: int, micro: int, rank: int, *, global_batch: int, world_size: int, accumulation: int) -> IntArray:
    """[global_batch / (world_size * accumulation)] global positions that `rank` reads at optimiser step `step`, micro-batch `micro`.

    Raises:
        ValueError: the global batch does not divide, or micro or rank is out of range.
    """
    size, rest = divmod(global_batch, world_size * accumulation)
    if rest or size < 1:
        raise ValueError(f"global_batch {global_batch} does not divide over {world_size} ranks x {accumulation} accumulation steps")
    if not (0 <= rank < world_size and 0 <= micro < accumulation and step >= 0):
        raise ValueError(f"no step {step}, micro-batch {micro}, rank {rank} with {world_size} ranks x {accumulation} accumulation steps")
    start = step * global_batch + (micro * world_size + rank) * size
    return np.arange(start, start + size, dtype=np.int64)


def samples_at(places: IntArray, *, n: int, seed: int, global_batch: int, shuffle: Shuffle = WHOLE) -> tuple[IntArray, NDArray[np.bool_]]:
    """(indices [m] in 0..n-1, real [m]) of the samples at global positions `places` [m].

    Not real are the repeats that fill an epoch's last batch.

    Raises:
        ValueError: there are no samples.
    """
    if n < 1:
        raise ValueError("there are no samples to order")
    indices = np.empty(len(places), dtype=np.int64)
    epochs, within = np.divmod(places, padded(n, global_batch))
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = at_places(within[here] % n, n=n, seed=seed, epoch=int(epoch), shuffle=shuffle)
    return indices, within < n


def step_slice(
    step: int, micro: int, rank: int, *, n: int, seed: int, global_batch: int, world_size: int, accumulation: int
) -> tuple[IntArray, NDArray[np.bool_]]:
    """(indices, real) of the samples that `rank` reads at optimiser step `step`, micro-batch `micro`: `samples_at` of `positions`."""
    places = positions(step, micro, rank, global_batch=global_batch, world_size=world_size, accumulation=accumulation)
    return samples_at(places, n=n, seed=seed, global_batch=global_batch)
