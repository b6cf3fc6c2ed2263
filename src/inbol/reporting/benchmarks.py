"""Tables of the benchmarks: every measure by system, and paired differences from the first system, from score folders alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inbol.evaluation.bootstrap import interval, over_seeds
from inbol.evaluation.metrics import Floats
from inbol.reporting.load import System
from inbol.reporting.tables import Cell, Column, Table

MADE = (
    "Made by this project from its own images in the benchmark's format: it shows that the path works and compares with nothing published."
)
MANY = 8
"""Rows of a table that stands whole among the main ones."""
BenchmarkFolders = Mapping[str, Mapping[str, Sequence[Path]]]
"""By benchmark and name of the system: score folders, one per seed."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """One system over its seeds."""

    scores: list[dict[str, Any]]
    samples: Floats
    """[seeds, resamples, measures]."""


def benchmark_tables(folders: BenchmarkFolders, systems: Sequence[System], *, seed: int) -> tuple[list[Table], list[Table]]:
    """(the main table of each benchmark, its further ones: by slice where there are many measures, and paired differences).

    Raises:
        ValueError: systems that were asked different items, or scored with another number of resamples.
    """
    main, details = [], []
    for name, by_system in folders.items():
        shown = [(system, _load(by_system[system.name])) for system in systems if system.name in by_system]
        if not shown:
            continue
        _check(name, shown)
        whole = _values(name, shown, seed)
        main.append(_headline(whole))
        details += [whole] if main[-1] is not whole else []
        details += [_differences(name, shown, seed)] if len(shown) > 1 else []
    return main, details


def _headline(table: Table) -> Table:
    """The rows over all items, where there are many rows besides: those of a slice are called `<measure>/<slice>`."""
    rows = tuple(row for row in table.rows if "/" not in row[0])
    if len(table.rows) <= MANY or not rows:
        return table
    return replace(table, rows=rows, name=f"{table.name}-main", notes=(*table.notes, "By slice: details."))


def measured_cells(folders: Sequence[Path], *, seed: int) -> dict[str, Cell] | None:
    """Every measure of one system over its seeds; None where a seed was not run."""
    if not folders or not all((folder / "scores.json").is_file() for folder in folders):
        return None
    scored = _load(folders)
    return {
        measure: _cell([s["measures"][measure] for s in scored.scores], scored.samples[:, :, place], seed)
        for place, measure in enumerate(scored.scores[0]["order"])
    }


def paired_cells(folders: Sequence[Path], base: Sequence[Path], *, seed: int) -> dict[str, Cell] | None:
    """Paired difference of every measure of one system from the base; None where a seed of either was not run.

    Raises:
        ValueError: the two were asked different items, or scored with another number of resamples.
    """
    if not folders or not base or not all((folder / "scores.json").is_file() for folder in (*folders, *base)):
        return None
    one, other = _load(folders), _load(base)
    order = other.scores[0]["order"]
    if any(a[key] != b[key] for a, b in zip(one.scores, other.scores, strict=True) for key in ("n", "images", "order", "interval")):
        raise ValueError(f"{folders[0]} and {base[0]} were measured on other items or otherwise; their differences would mean nothing")
    return {measure: _difference(one, other, measure, place, seed) for place, measure in enumerate(order)}


def reservations(folders: Sequence[Path]) -> tuple[str, ...]:
    """Why these scores compare with nothing published, whatever the benchmark: a tiny instance, or files that were cut."""
    scores = [json.loads((f / "scores.json").read_text(encoding="utf-8")) for f in folders if (f / "scores.json").is_file()]
    found = {
        "tiny instance": any(one["made"] for one in scores),
        "recovered subset": any("TRUNCATED" in note for one in scores if not one["made"] for note in one["notes"]),
    }
    return tuple(reason for reason, holds in found.items() if holds)


def _load(folders: Sequence[Path]) -> _Scored:
    scores = [json.loads((folder / "scores.json").read_text(encoding="utf-8")) for folder in folders]
    return _Scored(scores, np.stack([np.load(folder / "samples.npy", allow_pickle=False) for folder in folders]))


def _check(name: str, shown: Sequence[tuple[System, _Scored]]) -> None:
    first = shown[0][1]
    for system, scored in shown:
        for one in scored.scores:
            if any(one[key] != first.scores[0][key] for key in ("n", "images", "order", "interval")):
                raise ValueError(f"benchmark {name}: {system.name} was measured on other items or otherwise than {shown[0][0].name}")


def _values(name: str, shown: Sequence[tuple[System, _Scored]], seed: int) -> Table:
    first = shown[0][1].scores[0]
    rows = []
    for place, measure in enumerate(first["order"]):
        cells = tuple(_cell([s["measures"][measure] for s in one.scores], one.samples[:, :, place], seed) for _, one in shown)
        counts = {cell.n for cell in cells}
        rows.append((f"{measure} (n {counts.pop()})" if len(counts) == 1 else measure, cells))
    notes = (
        *([MADE] if first["made"] else []),
        *first["notes"],
        f"{first['n']} items about {first['images']} images; {first['interval']}.",
    )
    title = f"Benchmark {name}" + (", tiny instance" if first["made"] else "")
    columns = tuple(Column(system.label) for system, _ in shown)
    return Table(f"benchmark-{name}", title, columns, tuple(rows), corner="measure", notes=notes)


def _differences(name: str, shown: Sequence[tuple[System, _Scored]], seed: int) -> Table:
    base, others = shown[0], shown[1:]
    rows = []
    for place, measure in enumerate(base[1].scores[0]["order"]):
        cells = [_difference(one, base[1], measure, place, seed) for _, one in others]
        rows.append((measure, tuple(cells)))
    columns = tuple(Column(f"{system.label} - {base[0].label}", "bounds") for system, _ in others)
    notes = ("Paired: the same items and images in both systems, resampled together; * interval clear of 0.",)
    title = f"Benchmark {name}: differences from {base[0].label}"
    return Table(f"benchmark-{name}-differences", title, columns, tuple(rows), corner="measure", notes=notes)


def _difference(one: _Scored, base: _Scored, measure: str, place: int, seed: int) -> Cell:
    pairs = [(a["measures"][measure], b["measures"][measure]) for a, b in zip(one.scores, base.scores, strict=True)]
    numbers = [{"value": None if a["value"] is None or b["value"] is None else a["value"] - b["value"], "n": a["n"]} for a, b in pairs]
    return _cell(numbers, one.samples[:, :, place] - base.samples[:, :, place], seed)


def _cell(numbers: Sequence[Mapping[str, Any]], samples: Floats, seed: int) -> Cell:
    """The mean over seeds; no value where a seed has none."""
    n = round(float(np.mean([one["n"] for one in numbers])))
    if any(one["value"] is None for one in numbers):
        return Cell(n=n)
    low, high = interval(over_seeds(samples, seed=seed)) or (None, None)
    return Cell(value=float(np.mean([one["value"] for one in numbers])), low=low, high=high, n=n)
