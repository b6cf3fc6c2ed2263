"""The order of samples: every sample once per epoch, the same batches whatever the layout."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbol.shards.order import Shuffle, at_places, epoch_order, padded, positions, samples_at, step_slice, steps_per_epoch

LAYOUTS = [(world, accumulation) for world in (1, 2, 3, 4) for accumulation in (1, 2) if 24 % (world * accumulation) == 0]


def _batch(step: int, n: int, world: int, accumulation: int, seed: int = 3) -> list[tuple[int, bool]]:
    """The global batch of `step` as its ranks read it."""
    items = []
    for micro in range(accumulation):
        for rank in range(world):
            indices, real = step_slice(step, micro, rank, n=n, seed=seed, global_batch=24, world_size=world, accumulation=accumulation)
            assert len(indices) == 24 // (world * accumulation)
            items += list(zip(indices.tolist(), real.tolist(), strict=True))
    return items


def test_positions_by_hand() -> None:
    """Global batch 8, 2 ranks x 2 micro-batches of 2: step 1 starts at 8; micro 1 of rank 0 comes after both ranks' micro 0, at 8 + 4."""
    layout = {"global_batch": 8, "world_size": 2, "accumulation": 2}
    assert positions(1, 0, 0, **layout).tolist() == [8, 9]
    assert positions(1, 0, 1, **layout).tolist() == [10, 11]
    assert positions(1, 1, 0, **layout).tolist() == [12, 13]
    assert positions(1, 1, 1, **layout).tolist() == [14, 15]


def test_the_order_is_a_pure_permutation() -> None:
    order = epoch_order(100, 5, 2)
    epoch_order.cache_clear()
    assert (order == epoch_order(100, 5, 2)).all()
    assert sorted(order.tolist()) == list(range(100))
    assert (order != epoch_order(100, 5, 3)).any()
    assert (order != epoch_order(100, 6, 2)).any()
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 1  # a cached array that a caller could change would change every later epoch


@pytest.mark.parametrize("n", [1, 7, 24, 50, 72])
@pytest.mark.parametrize(("world", "accumulation"), LAYOUTS)
def test_every_sample_comes_exactly_once_per_epoch(n: int, world: int, accumulation: int) -> None:
    steps = steps_per_epoch(n, 24)
    assert padded(n, 24) == steps * 24
    for epoch in range(2):
        items = [item for step in range(epoch * steps, (epoch + 1) * steps) for item in _batch(step, n, world, accumulation)]
        assert sorted(index for index, real in items if real) == list(range(n))
        assert sum(not real for _, real in items) == steps * 24 - n
        assert all(0 <= index < n for index, _ in items)


@pytest.mark.parametrize("step", [0, 2, 5])
def test_the_global_batch_does_not_depend_on_the_layout(step: int) -> None:
    batches = [sorted(_batch(step, 50, world, accumulation)) for world, accumulation in LAYOUTS]
    assert len(batches) == 8
    assert all(batch == batches[0] for batch in batches)


def test_positions_across_epochs() -> None:
    """n 5, batch 4: an epoch takes 8 positions; 5, 6, 7 are repeats, 8 opens epoch 1."""
    indices, real = samples_at(np.arange(10), n=5, seed=1, global_batch=4)
    assert real.tolist() == [True] * 5 + [False] * 3 + [True] * 2
    assert indices[5:8].tolist() == epoch_order(5, 1, 0)[:3].tolist()
    assert indices[8:].tolist() == epoch_order(5, 1, 1)[:2].tolist()


def test_a_layout_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="global_batch 8 does not divide over 3 ranks x 1"):
        positions(0, 0, 0, global_batch=8, world_size=3, accumulation=1)
    with pytest.raises(ValueError, match="rank 2"):
        positions(0, 0, 2, global_batch=8, world_size=2, accumulation=1)
    with pytest.raises(ValueError, match="no samples"):
        samples_at(np.arange(2), n=0, seed=0, global_batch=2)


def test_a_window_by_hand() -> None:
    """10 samples in blocks of 3 (the last has one) and windows of two blocks: places 0-5 are a permutation of two whole blocks, or 0-3
    of a whole one and the short one."""
    shuffle = Shuffle(block=3, window=6)
    order = at_places(np.arange(10), n=10, seed=4, epoch=0, shuffle=shuffle).tolist()
    blocks = epoch_order(4, 4, 0).tolist()
    first = sorted(sample for block in blocks[:2] for sample in range(3 * block, min(3 * block + 3, 10)))
    assert sorted(order[: len(first)]) == first
    assert sorted(order) == list(range(10))


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 500),
    block=st.integers(1, 20),
    windows=st.integers(1, 6),
    seed=st.integers(0, 9),
    world=st.sampled_from([1, 2, 3, 4, 6]),
    accumulation=st.sampled_from([1, 2, 4]),
    size=st.integers(1, 3),
    start=st.floats(0, 1),
)
def test_any_layout_reads_the_same_sequence_from_any_point(
    n: int, block: int, windows: int, seed: int, world: int, accumulation: int, size: int, start: float
) -> None:
    """Coverage is exact, the order does not depend on ranks, micro-batches or the point of resuming, and positions are arithmetic."""
    shuffle, batch = Shuffle(block, block * windows), 24 * size
    steps = steps_per_epoch(n, batch)

    def sequence(world: int, accumulation: int, first: int) -> list[tuple[int, bool]]:
        items = []
        for step in range(first, 2 * steps):
            for micro in range(accumulation):
                for rank in range(world):
                    places = positions(step, micro, rank, global_batch=batch, world_size=world, accumulation=accumulation)
                    assert places[0] == step * batch + (micro * world + rank) * len(places)
                    indices, real = samples_at(places, n=n, seed=seed, global_batch=batch, shuffle=shuffle)
                    items += list(zip(indices.tolist(), real.tolist(), strict=True))
        return items

    whole = sequence(1, 1, 0)
    for epoch in range(2):
        items = whole[epoch * steps * batch : (epoch + 1) * steps * batch]
        assert sorted(index for index, real in items if real) == list(range(n))
    if 24 % (world * accumulation) == 0:
        resumed = round(start * (2 * steps - 1))
        assert sequence(world, accumulation, resumed) == whole[resumed * batch :]


def test_a_billion_samples_are_planned_at_once() -> None:
    """10^5 shards x 10^4 samples over 1,024 ranks; `make bench BENCH=plan` measures it, this bound is a wide one."""
    n, batch, shuffle = 10**9, 1024 * 8, Shuffle(1000, 2**20)
    start = time.perf_counter()
    for step in (0, steps_per_epoch(n, batch) // 2, steps_per_epoch(n, batch) - 1):
        places = positions(step, 0, 1023, global_batch=batch, world_size=1024, accumulation=1)
        indices, _ = samples_at(places, n=n, seed=0, global_batch=batch, shuffle=shuffle)
        assert len(set(indices.tolist())) == 8
    assert time.perf_counter() - start < 10


def test_a_shuffle_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="block 4 and window 2"):
        Shuffle(4, 2)
