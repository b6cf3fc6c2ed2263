"""Score folders of several systems and seeds, loaded and checked to be about the same questions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.contracts import Graded
from inbol.evaluation.items import Items
from inbol.shards.files import read_records


@dataclass(frozen=True, slots=True)
class System:
    """One row of the report."""

    name: str
    """Short and unique: `dpo`."""
    label: str
    """As printed: `CA-DPO`."""
    runs: tuple[Path, ...]
    """Score folders, one per seed; the same order of seeds in every system."""
    train_logs: tuple[Path, ...] = ()
    """Training folders (or their `log_history.json`), one per seed; none for untrained rows."""


@dataclass(frozen=True, slots=True)
class Run:
    """One system at one seed."""

    folder: Path
    graded: tuple[Graded, ...]
    """In the order of their keys."""
    items: Items
    scores: dict[str, Any]
    """scores.json."""
    manifest: dict[str, Any]
    """manifest.json, empty when the folder has none."""


def load_runs(systems: Sequence[System]) -> dict[str, list[Run]]:
    """The runs of every system by its name.

    Raises:
        ValueError: no systems, a name twice, different numbers of seeds, or runs that were asked different questions.
    """
    if not systems:
        raise ValueError("report: no systems; give at least the base")
    names = [s.name for s in systems]
    if len(set(names)) != len(names):
        raise ValueError(f"report: system names must be unique, got {', '.join(names)}")
    seeds = {s.name: len(s.runs) for s in systems}
    if len(set(seeds.values())) != 1 or 0 in seeds.values():
        raise ValueError(f"report: every system needs one score folder per seed, got {seeds}; paired intervals need the same seeds")
    runs = {s.name: [load_run(folder) for folder in s.runs] for s in systems}
    first = runs[names[0]][0]
    for name in names:
        for run in runs[name]:
            if run.items.keys != first.items.keys:
                odd = sorted(set(run.items.keys) ^ set(first.items.keys))
                raise ValueError(
                    f"{run.folder} and {first.folder} were asked different questions ({len(odd)} in one only, first {odd[0]!r}); "
                    "compare systems on the same split of the same data"
                )
            for key in ("tau", "held_out"):
                if run.scores[key] != first.scores[key]:
                    raise ValueError(
                        f"{run.folder}: {key} is {run.scores[key]!r}, but {first.scores[key]!r} in {first.folder}; score them alike"
                    )
    return runs


def load_run(folder: Path) -> Run:
    """One score folder. Raises ValueError when its files are missing or not what they should be."""
    try:
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        graded = read_records(folder / "outcomes.jsonl", Graded)
    except FileNotFoundError as error:
        raise ValueError(f"{folder} is no score folder: {Path(error.filename).name} is missing; run the score stage first") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / 'scores.json'} is not valid JSON ({error}); delete the folder and run the score stage again") from None
    manifest = folder / "manifest.json"
    return Run(
        folder=folder,
        graded=tuple(sorted(graded, key=lambda g: g.key)),
        items=Items.of(graded),
        scores=scores,
        manifest=json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {},
    )


def load_history(path: Path) -> list[dict[str, Any]]:
    """The logged lines of a training folder; empty when it kept none."""
    file = path / "log_history.json" if path.is_dir() else path
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
