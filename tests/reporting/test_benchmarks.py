"""The benchmarks' tables: values, means over seeds, and differences that are paired, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inbol.reporting.benchmarks import MADE, MANY, benchmark_tables
from inbol.reporting.load import System
from inbol.reporting.tables import to_markdown


def folder(path: Path, values: dict[str, float | None], samples: list[list[float]], **changed: Any) -> Path:
    """A score folder; `samples` are [resamples, measures]."""
    path.mkdir(parents=True)
    measures = {name: {"value": value, "low": value, "high": value, "n": 10} for name, value in values.items()}
    scores = {
        "n": 10,
        "images": 2,
        "order": list(values),
        "measures": measures,
        "interval": "x",
        "notes": ["A note."],
        "made": True,
        **changed,
    }
    (path / "scores.json").write_text(json.dumps(scores))
    np.save(path / "samples.npy", np.array(samples))
    return path


def system(name: str) -> System:
    return System(name=name, label=name.upper(), runs=())


def test_values_and_paired_differences(tmp_path: Path) -> None:
    """Both systems swing with the resample, their difference of .2 does not: its interval is [.2, .2] and clear of 0."""
    base = folder(tmp_path / "base", {"a": 0.4, "b": None}, [[0.0, np.nan], [0.8, np.nan]])
    dpo = folder(tmp_path / "dpo", {"a": 0.6, "b": 0.5}, [[0.2, 0.5], [1.0, 0.5]])
    (main,), (differences,) = benchmark_tables({"pope": {"base": (base,), "dpo": (dpo,)}}, [system("base"), system("dpo")], seed=0)
    assert [column.name for column in main.columns] == ["BASE", "DPO"]
    assert main.rows[0][0] == "a (n 10)" and [cell.value for cell in main.rows[0][1]] == [0.4, 0.6]
    assert main.rows[1][1][0].value is None and "n/a" in to_markdown([main])
    assert main.notes[:2] == (MADE, "A note.") and "tiny instance" in main.title
    (cell,) = differences.rows[0][1]
    assert [cell.value, cell.low, cell.high] == pytest.approx([0.2, 0.2, 0.2]) and cell.clear_of_zero
    assert differences.rows[1][1][0].value is None


def test_the_mean_over_seeds(tmp_path: Path) -> None:
    folders = tuple(folder(tmp_path / str(value), {"a": value}, [[value]] * 4, made=False) for value in (0.2, 0.4, 0.9))
    (main,), details = benchmark_tables({"vqa": {"base": folders}}, [system("base"), system("absent")], seed=0)
    assert main.rows[0][1][0].value == pytest.approx(0.5) and details == []
    assert MADE not in main.notes


def test_slices_of_long_tables_stand_among_the_details(tmp_path: Path) -> None:
    values = {"a": 0.5, "b": 0.5, **{f"a/{n}": 0.5 for n in range(MANY)}}
    base = folder(tmp_path / "base", values, [[0.5] * len(values)])
    (main,), (whole,) = benchmark_tables({"pope": {"base": (base,)}}, [system("base")], seed=0)
    assert len(main.rows) == 2 and len(whole.rows) == MANY + 2 and main.name != whole.name


def test_other_items_are_refused(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", {"a": 0.4}, [[0.4]])
    dpo = folder(tmp_path / "dpo", {"a": 0.4}, [[0.4]], n=11)
    with pytest.raises(ValueError, match="benchmark pope: dpo was measured on other items or otherwise than base"):
        benchmark_tables({"pope": {"base": (base,), "dpo": (dpo,)}}, [system("base"), system("dpo")], seed=0)
