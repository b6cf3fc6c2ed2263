"""Several sources in one stream: how often each sample comes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbol.shards.mixing import mixture
from inbol.shards.order import Shuffle


def test_counts_by_hand() -> None:
    """4 of a with weight 1, 3 of b with weight 2 and 5 of c with weight .5 (round(2.5) = 2 slots): 4 + 6 + 2 slots an epoch."""
    mixed = mixture(list("aaaabbbccccc"), {"b": 2, "c": 0.5}, seed=3)
    assert mixed.size == 12
    per_epoch = [Counter(mixed.samples(np.arange(12), epoch).tolist()) for epoch in range(5)]
    for counts in per_epoch:
        assert [counts[n] for n in range(7)] == [1, 1, 1, 1, 2, 2, 2]
        assert sum(counts[n] for n in range(7, 12)) == 2
    c = Counter[int]()
    for counts in per_epoch:
        c.update({n: counts[n] for n in range(7, 12)})
    assert all(c[n] == 2 for n in range(7, 12))  # 5 epochs x 2 slots are two whole passes over its 5 samples


def test_weight_one_is_no_mixing() -> None:
    mixed = mixture(list("aabbb"), {}, seed=0)
    for epoch in range(3):
        assert mixed.samples(np.arange(5), epoch).tolist() == [0, 1, 2, 3, 4]


def test_wrong_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="no sample is of source z; sources are a, b"):
        mixture(["a", "b"], {"z": 1}, seed=0)
    with pytest.raises(ValueError, match="at least 0"):
        mixture(["a", "b"], {"a": -1}, seed=0)
    with pytest.raises(ValueError, match="no source gives a sample"):
        mixture(["a"], {"a": 0}, seed=0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.lists(st.floats(0.1, 3), min_size=4, max_size=4),
    st.integers(1, 6),
    st.integers(0, 5),
)
def test_every_sample_comes_floor_or_ceil_times(sizes: list[int], weights: list[float], epochs: int, seed: int) -> None:
    sources = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    by_name = {f"s{number}": weight for number, (weight, _) in enumerate(zip(weights, sizes))}
    if not sum(round(by_name[f"s{n}"] * size) for n, size in enumerate(sizes)):
        return
    mixed = mixture(sources, by_name, seed=seed, shuffle=Shuffle(3, 9))
    came = Counter[int]()
    for epoch in range(epochs):
        came.update(mixed.samples(np.arange(mixed.size), epoch).tolist())
    for members, count in zip(mixed.members, mixed.counts):
        n = len(members)
        times = [came[int(member)] for member in members]
        assert sum(times) == epochs * count
        assert set(times) <= {epochs * count // n, -(-epochs * count // n)}
