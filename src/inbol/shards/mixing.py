"""Several sources in one stream, by weights: arithmetic on top of the order, so that resuming stays a jump.

A source of n samples with weight w gives c = round(w n) samples to every epoch of the mixture, the next c of its own endless sequence of
shuffled passes. So each of its samples has come floor or ceil(E c / n) times after E epochs; with weight 1 once an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inbol.shards.order import WHOLE, IntArray, Shuffle, at_places


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which sample a slot of the mixture's epoch is. Samples of all sources are numbered in one row, source by source."""

    members: tuple[IntArray, ...]
    """Numbers of the samples of each source, ascending."""
    counts: tuple[int, ...]
    """Samples that each source gives to an epoch."""
    seed: int
    shuffle: Shuffle = WHOLE

    @property
    def size(self) -> int:
        """Slots of an epoch."""
        return sum(self.counts)

    def samples(self, slots: IntArray, epoch: int) -> IntArray:
        """[m] sample numbers of the slots [m], in 0..size-1, of an epoch."""
        ends = np.cumsum(self.counts)
        sources = np.searchsorted(ends, slots, side="right")
        result = np.empty(len(slots), dtype=np.int64)
        for source, (members, count) in enumerate(zip(self.members, self.counts, strict=True)):
            here = sources == source
            if not here.any():
                continue
            n = len(members)
            passes, within = np.divmod(epoch * count + slots[here] - (ends[source] - count), n)
            if count != n:  # with weight 1 a pass is an epoch, which is shuffled as it is
                for number in np.unique(passes):
                    there = passes == number
                    within[there] = at_places(
                        within[there], n=n, seed=_own_seed(self.seed, source), epoch=int(number), shuffle=self.shuffle
                    )
            result[here] = members[within]
        return result


def mixture(sources: Sequence[str], weights: Mapping[str, float], *, seed: int, shuffle: Shuffle = WHOLE) -> Mixture:
    """The mixture of samples whose sources are given.

    Args:
        sources: [n] the source of each sample.
        weights: by source, at least 0; 0 leaves it out, a source that is not named has weight 1.
        seed: of the passes over sources whose weight is not 1.
        shuffle: of those passes.

    Raises:
        ValueError: a weight for a source that does not occur, a negative one, or nothing left.
    """
    names = sorted(set(sources))
    if unknown := sorted(set(weights) - set(names)):
        raise ValueError(f"mix: no sample is of source {', '.join(unknown)}; sources are {', '.join(names)}")
    if negative := {name: weight for name, weight in weights.items() if not weight >= 0}:
        raise ValueError(f"mix: weights must be at least 0, got {negative}")
    owners = np.array([names.index(source) for source in sources], dtype=np.int64)
    members = [np.flatnonzero(owners == number) for number in range(len(names))]
    counts = [round(weights.get(name, 1.0) * len(group)) for name, group in zip(names, members, strict=True)]
    if not sum(counts):
        raise ValueError(f"mix: no source gives a sample to an epoch; weights are {dict(weights)}")
    kept = [number for number, count in enumerate(counts) if count]
    return Mixture(tuple(members[number] for number in kept), tuple(counts[number] for number in kept), seed, shuffle)


def _own_seed(seed: int, source: int) -> int:
    return int(np.random.SeedSequence([seed, 2, source]).generate_state(1)[0])
