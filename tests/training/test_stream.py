"""The order of training data: every tree once per epoch, whatever the ranks, and a resume is a jump."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from names import Names
from streams import stream_of
from torch.utils.data import DataLoader

from inbol.shards.order import Layout, spread
from inbol.training.stream import FromStep, StepStream, Visit, deal


def streams(size: int, layout: Layout, seed: int = 0) -> list[StepStream]:
    return [stream_of(Names(size), layout, rank=rank, seed=seed) for rank in range(layout.world_size)]


def visits_of_step(all_ranks: list[StepStream], step: int) -> list[Visit]:
    accumulation = all_ranks[0].layout.accumulation
    return [visit for micro in range(accumulation) for stream in all_ranks for visit in stream[step * accumulation + micro].batch]


@pytest.mark.parametrize(
    ("global_batch", "world_size", "largest", "micro", "accumulation"),
    [
        (32, 2, 16, 16, 1),  # a rank's share of 16 fits
        (32, 2, 64, 16, 1),
        (32, 2, 5, 4, 4),  # 5 does not divide 16
        (12, 2, 4, 3, 2),  # 4 does not divide 6
        (14, 2, 4, 1, 7),  # 7 is prime
        (4, 1, 1, 1, 4),
        (4, 4, 8, 1, 1),
    ],
)
def test_spread(global_batch: int, world_size: int, largest: int, micro: int, accumulation: int) -> None:
    layout = spread(global_batch, world_size, largest)
    assert (layout.micro_batch, layout.accumulation) == (micro, accumulation)
    assert layout.world_size * layout.micro_batch * layout.accumulation == layout.global_batch == global_batch


def test_ranks_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="a global batch of 10 trees does not divide over 4 ranks; choose a multiple of 4"):
        spread(10, 4, 2)


LAYOUTS = [Layout(12, world, micro) for world, micro in ((1, 12), (1, 1), (1, 3), (2, 6), (2, 1), (3, 2), (4, 3), (12, 1))]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: f"{one.world_size}x{one.accumulation}x{one.micro_batch}")
@pytest.mark.parametrize("size", [5, 12, 31, 36])
def test_every_tree_exactly_once_per_epoch(size: int, layout: Layout) -> None:
    """Over all ranks and accumulation steps; what fills the last batch is not real and repeats trees of the same epoch."""
    ranks = streams(size, layout)
    steps = ranks[0].schedule.steps_per_epoch
    assert steps == -(-size // 12)
    orders = []
    for epoch in range(3):
        visits = [visit for step in range(epoch * steps, (epoch + 1) * steps) for visit in visits_of_step(ranks, step)]
        assert len(visits) == steps * 12
        assert sorted(visit.index for visit in visits if visit.real) == list(range(size))
        assert {visit.epoch for visit in visits} == {epoch}
        assert all(visit.real for visit in visits[: (size // 12) * 12])  # repeats fill the last batch alone
        orders.append([visit.index for visit in visits])
    assert orders[0] != orders[1] != orders[2]


def test_the_layout_does_not_change_what_a_step_sees() -> None:
    """The same 12 visits, however they are dealt."""

    def seen(layout: Layout) -> list[set[Visit]]:
        ranks = streams(31, layout)
        return [set(visits_of_step(ranks, step)) for step in range(7)]

    expected = seen(LAYOUTS[0])
    assert all(len(step) == 12 for step in expected)
    assert all(seen(layout) == expected for layout in LAYOUTS[1:])


def test_trees_are_dealt_by_length() -> None:
    """Two ranks, two micro-batches of two. By length 9 8 7 6 | 4 3 2 1; of the first four, rank 0 takes 9 and 6, rank 1 takes 8 and 7."""
    lengths = [4, 9, 1, 8, 7, 2, 6, 3]
    layout = Layout(8, 2, 2)
    assert deal(lengths, layout, 0) == [[1, 6], [0, 2]]  # 9 + 6, 4 + 1
    assert deal(lengths, layout, 1) == [[3, 4], [5, 7]]  # 8 + 7, 2 + 3
    assert deal([1] * 4, Layout(4, 1, 4), 0) == [[0, 1, 2, 3]]


def test_the_seed_changes_the_order() -> None:
    one, same, other = (visits_of_step(streams(31, LAYOUTS[0], seed), 0) for seed in (0, 0, 1))
    assert one == same != other


def test_the_denominator_is_that_of_the_whole_global_batch() -> None:
    """Five trees count 1 + 2 + 3 + 4 + 5 = 15 per epoch. In batches of four, the second has one real tree and three repeats."""
    layout = Layout(4, 2, 1)
    ranks = streams(5, layout)
    first, second = visits_of_step(ranks, 0), visits_of_step(ranks, 1)
    assert [sum(visit.real for visit in step) for step in (first, second)] == [4, 1]
    told = [{stream[item].denominator for stream in ranks for item in (2 * step, 2 * step + 1)} for step in (0, 1)]
    assert told == [{sum(visit.index + 1.0 for visit in first)}, {next(visit.index for visit in second if visit.real) + 1.0}]
    assert sum(next(iter(step)) for step in told) == 15


def test_a_batch_without_weight_does_not_divide_by_zero() -> None:
    class Weightless(Names):
        def denominator(self, visit: Visit) -> float:
            return 0.0

    assert stream_of(Weightless(4), Layout(4, 1, 4), rank=0, seed=0)[0].denominator == 1.0


def test_keys_name_the_trees_of_the_micro_batch() -> None:
    micro_batch = streams(31, Layout(12, 2, 3))[1][3]
    assert micro_batch.keys == [visit.index for visit in micro_batch.batch]
    assert len(micro_batch.keys) == 3


def test_from_step_starts_where_the_trainer_stands() -> None:
    """Three steps of two micro-batches; the loader is built before a resumed state is loaded, so the step is read at iteration."""
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=0), args=SimpleNamespace(max_steps=3))
    sampler = FromStep(trainer, 2)
    assert list(sampler) == [0, 1, 2, 3, 4, 5]
    trainer.state.global_step = 2
    assert list(sampler) == [4, 5]
    assert len(sampler) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_loader_yields_the_rest(workers: int) -> None:
    """In this process and in loader processes."""
    stream = streams(31, Layout(12, 2, 3))[1]
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=0), args=SimpleNamespace(max_steps=5))
    whole = [one.keys for one in DataLoader(stream, batch_size=None, sampler=FromStep(trainer, 2))]
    assert len(whole) == 10
    trainer.state.global_step = 3
    rest = DataLoader(stream, batch_size=None, sampler=FromStep(trainer, 2), num_workers=workers)
    assert [one.keys for one in rest] == whole[6:]
