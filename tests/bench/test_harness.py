"""The arithmetic of the harness and the table; nothing is measured here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bench import harness
from bench.dpo import _measure
from bench.harness import BEGIN, END, Measure, Prepared, Result

FIELDS = [
    "name", "peer", "peer_version", "unit", "ours", "peer_value", "ratio", "floor_ratio", "repetitions", "spread",
    "command", "versions", "cpu",
]  # fmt: skip


def prepared(sides: dict[str, harness.Side]) -> Prepared:
    measure = Measure(
        name="x", unit="steps/s", ours=lambda t: 1 / t["ours"], peer=lambda t: 1 / t["peer"], floor=lambda t: t["ours"] / t["floor"]
    )
    return Prepared(sides=sides, measures=(measure,), peer="Y", peer_package="pytest")


def result(**changed: object) -> Result:
    turns = [{"ours": 1.0, "peer": 2.0, "floor": 0.5}, {"ours": 2.0, "peer": 6.0, "floor": 1.0}, {"ours": 4.0, "peer": 8.0, "floor": 2.0}]
    (made,) = harness.summarise(prepared({"ours": str, "peer": str, "floor": str}), turns, "make bench BENCH=x")
    return dataclasses.replace(made, **changed)


def test_medians_ratio_floor_and_spread_by_hand() -> None:
    """Medians 2, 6 and 1 s: 0.5 and 1/6 steps a second, three times as fast, twice the floor. Single ratios are 2, 3, 2: quartiles 2 and
    2.5 around 2, a spread of 0.25."""
    made = result()
    assert (made.ours, made.peer_value, made.ratio, made.floor_ratio) == (0.5, 0.1667, 3.0, 2.0)
    assert (made.spread, made.repetitions) == (0.25, 3)


def test_the_spread_of_equal_values_is_0_and_has_no_unit() -> None:
    """1 to 5: quartiles 2 and 4 around 3; ten times as much, the same."""
    assert harness.spread([3.0] * 4) == 0
    assert harness.spread([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert harness.spread([10, 20, 30, 40, 50]) == pytest.approx(2 / 3)


def test_sides_take_turns_after_one_warm_up_each() -> None:
    calls: list[str] = []
    turns = harness.take_turns({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert [list(turn) for turn in turns] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]
    assert all(seconds >= 0 for turn in turns for seconds in turn.values())


def test_one_repetition_is_refused() -> None:
    with pytest.raises(ValueError, match="repetitions: 1 is below 2"):
        harness.take_turns({"ours": str}, 1)


def test_the_reference_is_paid_once_by_us_and_every_epoch_by_trl() -> None:
    """10 pairs, 1 s of reference, 2 s a step, TRL 8 s a step: 10 / 3 and 30 / 7 pairs a second against 10 / 8."""
    times = {"ours": 2.0, "reference": 1.0, "peer": 8.0, "floor": 1.6}
    one, three = _measure("x", 1, 10), _measure("x", 3, 10)
    assert one.ours(times) == pytest.approx(10 / 3)
    assert three.ours(times) == pytest.approx(30 / 7)
    assert one.peer(times) == three.peer(times) == pytest.approx(10 / 8)
    assert three.floor(times) == pytest.approx(1.25)


def test_a_result_is_one_file_with_exactly_these_fields(tmp_path: Path) -> None:
    harness.write(result(), tmp_path)
    assert list(json.loads((tmp_path / "x.json").read_text())) == FIELDS
    assert harness.read(tmp_path) == [result()]


def test_the_table_stands_between_the_markers_and_rendering_twice_changes_nothing() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    made = harness.render(page, [result(), result(name="y", ratio=7.25)])
    assert made.startswith("before\n") and made.endswith("\nafter\n") and "old" not in made
    assert [line.split(" | ")[0] for line in made.splitlines() if line.startswith("| `")] == ["| `x`", "| `y`"]
    assert "**7.25**" in made and "| 25% |" in made
    assert made.count("Measured on:") == 1  # same machine, same versions
    assert harness.render(made, [result(), result(name="y", ratio=7.25)]) == made


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        harness.render("no table here", [])


def test_the_table_in_the_readme_is_that_of_the_files() -> None:
    page = harness.README.read_text(encoding="utf-8")
    assert harness.render(page, harness.read()) == page
