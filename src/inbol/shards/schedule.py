"""The endless sequence of a training: which sample stands at a global position, with its shuffle and its mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inbol.shards.mixing import Mixture
from inbol.shards.order import WHOLE, IntArray, Shuffle, padded, samples_at, steps_per_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A pure function of position; see `shards/order.py` and `shards/mixing.py`."""

    samples: int
    """Number of samples, at least 1."""
    global_batch: int
    """Samples per optimiser step."""
    seed: int
    shuffle: Shuffle = WHOLE
    mixture: Mixture | None = None
    """None: every sample once an epoch."""

    @property
    def size(self) -> int:
        """Visits of an epoch that weigh something."""
        return self.mixture.size if self.mixture else self.samples

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may hold repeats of weight 0."""
        return steps_per_epoch(self.size, self.global_batch)

    def at(self, places: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """(samples [m], real [m]) at the global positions `places` [m]; not real are the repeats that fill an epoch's last batch.

        Raises:
            ValueError: there are no samples.
        """
        slots, real = samples_at(places, n=self.size, seed=self.seed, global_batch=self.global_batch, shuffle=self.shuffle)
        if self.mixture is None:
            return slots, real
        epochs = places // padded(self.size, self.global_batch)
        samples = np.empty_like(slots)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            samples[here] = self.mixture.samples(slots[here], int(epoch))
        return samples, real
