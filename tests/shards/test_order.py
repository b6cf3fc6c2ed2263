"""The order of samples: every sample once per epoch, the same batches whatever the layout."""

from __future__ import annotations

import numpy as np
import pytest

from inbol.shards.order import epoch_order, padded, positions, samples_at, step_slice, steps_per_epoch

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
