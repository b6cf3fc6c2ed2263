"""The account says what was trained on, and an account that is not exact is refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from names import Names
from streams import stream_of

from inbol.shards.order import Layout
from inbol.shards.schedule import Schedule
from inbol.training.accounting import Entry, Ledger, cut_off, prove, read, read_all

SIZE, SEED, GLOBAL = 5, 3, 4
"""Two steps an epoch; the second has one tree and three repeats."""


def entries(layout: Layout, steps: range) -> list[Entry]:
    """What the ranks of a layout would book, from the micro-batches that they get."""
    booked = []
    for rank in range(layout.world_size):
        stream = stream_of(Names(SIZE), layout, rank=rank, seed=SEED)
        for step in steps:
            items = [stream[step * layout.accumulation + micro] for micro in range(layout.accumulation)]
            places, trees = [p for one in items for p in one.places], [k for one in items for k in one.keys]
            booked.append(Entry(step + 1, tuple(places), tuple(trees)))
    return booked


def proof(booked: list[Entry], steps: int = 6, since: int = 0) -> dict[str, object]:
    return prove(booked, Schedule(samples=SIZE, seed=SEED, global_batch=GLOBAL), steps=steps, since=since)


TWO, ONE = Layout(GLOBAL, 2, 1), Layout(GLOBAL, 1, 2)


def test_the_facts_by_hand() -> None:
    """Six steps of four are three epochs: 15 visits of five trees, and three repeats in each last batch."""
    facts = {"samples_per_epoch": 5, "epochs": 3.0, "samples": 15, "repeats": 9, "each_once_per_epoch": True}
    assert proof(entries(TWO, range(6))) == facts
    assert proof(entries(TWO, range(2)) + entries(ONE, range(2, 3)) + entries(TWO, range(3, 6))) == facts, "2 -> 1 -> 2 ranks"


def test_an_unfinished_epoch_and_a_new_beginning() -> None:
    """Five steps: 5 + 5 + 4 trees. After a change at step 3 the account covers 4 to 6: one repeat-filled step, and an epoch."""
    assert proof(entries(ONE, range(5)), steps=5) == {
        "samples_per_epoch": 5, "epochs": 2.5, "samples": 14, "repeats": 6, "each_once_per_epoch": True,
    }  # fmt: skip
    assert proof([Entry(2, (7, 7), ()), *entries(TWO, range(3, 6))], since=3) == {
        "samples_per_epoch": 5, "epochs": 1.5, "samples": 6, "repeats": 6, "each_once_per_epoch": True, "since_step": 3,
    }  # fmt: skip


def test_what_is_lost_or_doubled_is_named() -> None:
    whole = entries(TWO, range(6))
    tree = {place: tree for entry in whole if entry.step == 2 for place, tree in zip(entry.places, entry.trees, strict=True)}
    lost = [entry for entry in whole if (entry.step, 0 in entry.places) != (2, True)]
    missing = sorted(set(range(4)) - {place for entry in lost if entry.step == 2 for place in entry.places})
    named = ", ".join(rf"place {4 + place} \(step 2, tree {tree[place]}\)" for place in missing)
    with pytest.raises(ValueError, match=f"not exact, of 24 places 2 lost: {named}$"):
        proof(lost)
    with pytest.raises(ValueError, match=r"of 24 places 2 doubled: place \d+ \(step 1, tree \d\), place \d+ \(step 1, tree \d\)$"):
        proof([*whole, whole[0]])
    swapped = [Entry(e.step, e.places, e.trees[::-1]) if e == whole[0] else e for e in whole]
    with pytest.raises(ValueError, match="2 taken by another tree than stands there"):
        proof(swapped)
    with pytest.raises(ValueError, match=r"24 lost: .*, \.\.\.$"):
        proof([])
    for beyond in (Entry(7, (0,), (0,)), Entry(6, (4,), (0,)), Entry(6, (-1,), (0,)), Entry(6, (0, 1), (0,))):
        with pytest.raises(ValueError, match=f"step {beyond.step} of 6 names places"):
            proof([*whole, beyond])


def test_an_order_that_is_no_permutation_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof over trees does not lean on the order: here it gives tree 0 the place of tree 1, and the ranks follow it."""
    from inbol.shards import order

    real = order.epoch_order
    monkeypatch.setattr(order, "epoch_order", lambda *args: real(*args) * (real(*args) != 1))
    with pytest.raises(ValueError, match=r"epoch 0 did not see each of trees \[0, 1\] once"):
        proof(entries(TWO, range(6)))

    monkeypatch.setattr(order, "epoch_order", lambda *args: real(*args) * 0)
    with pytest.raises(ValueError, match=r"epoch 0 did not see each of trees \[0\] once"):
        proof(entries(TWO, range(1)), steps=1)


def test_a_ledger_is_cut_off_at_the_checkpoint(tmp_path: Path) -> None:
    """Three steps booked and the fourth torn by a kill; after a resume at step 2, step 3 is booked once more."""
    for rank in (0, 1):
        ledger = Ledger(tmp_path, rank)
        for step in (1, 2, 3):
            ledger.note([rank], [7])
            ledger.note([2 + rank], [8])
            ledger.commit(step)
        ledger.sync()
        ledger.close()
    path = tmp_path / "rank-0.jsonl"
    path.write_text(path.read_text() + '{"step":4,"at":[0,')
    assert read(path) == [Entry(step, (0, 2), (7, 8)) for step in (1, 2, 3)]
    cut_off(tmp_path, 2)
    assert [entry.step for entry in read_all(tmp_path)] == [1, 2, 1, 2]
    ledger = Ledger(tmp_path, 0)
    ledger.note([1], [9])
    ledger.commit(3)
    ledger.close()
    assert read(path) == [Entry(1, (0, 2), (7, 8)), Entry(2, (0, 2), (7, 8)), Entry(3, (1,), (9,))]
    cut_off(tmp_path, 0)
    assert read_all(tmp_path) == []
    path.write_text('{"step":1}\n')
    with pytest.raises(ValueError, match=r"rank-0.jsonl:1 is no entry of a training's account"):
        read(path)
