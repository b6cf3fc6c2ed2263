"""`make sweep`: a recipe at every point of a grid. Points share every stage they have in common; one that fails does not stop the others.

Points are compared on `align-val`: choosing by the test split would spend it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from inbol.config.load import ConfigError, from_mapping
from inbol.config.run import RunConfig
from inbol.reporting.sweep import PointResult, read_points, write_report
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from launch.compose import CONF, compose_run, names
from launch.console import Screen
from launch.jobs import StageFailed
from launch.local import run_nodes
from launch.plan import Node, plan
from launch.runs import freeze, new_folder
from launch.slurm import submit

POINTS = "points.json"
SPLIT = "eval_split=align-val"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """A file of `conf/sweep/`."""

    grid: dict[str, Any]
    """Values of each key; points are all combinations."""
    metric: str = "trust/T1 50/50"
    """`<slice>/<measure>` of the scores; more is better."""
    columns: tuple[str, ...] = ("answerable/T0", "over-refusal/c>=.8")
    """Further numbers of the table."""

    def __post_init__(self) -> None:
        for key, values in self.grid.items():
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"grid.{key}: needs a list of values, got {values!r}")
            if key == "eval_split":
                raise ValueError("grid.eval_split: points are compared on align-val, never on test")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """One point of the grid."""

    values: dict[str, str]
    run: RunConfig
    nodes: tuple[Node, ...]
    """Inputs first; the report, which is made over all points, is left out."""
    score: Node
    """Of the recipe's last row."""


def load_sweep(name: str, overrides: Sequence[str]) -> tuple[SweepConfig, list[str]]:
    """(the sweep `conf/sweep/<name>.yaml` with the axes that `overrides` add, the other overrides).

    An override with several values, `dpo.beta=0.05,0.1`, is an axis; commas in brackets and quotes are the value's own. Without a name the
    overrides are the whole grid.

    Raises:
        ConfigError: no such file, every mistake in it, or no axis at all.
    """
    raw: dict[str, Any] = {"grid": {}}
    if name:
        path = CONF / "sweep" / f"{name}.yaml"
        if not path.is_file():
            raise ConfigError([f"sweep: there is no {name!r}; there are {', '.join(names(CONF / 'sweep'))}"])
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain = []
    for text in overrides:
        key, _, value = text.partition("=")
        values = split_values(value)
        if len(values) > 1:
            raw["grid"] = {**raw["grid"], key: values}
        else:
            plain.append(text)
            raw["grid"] = {axis: kept for axis, kept in raw["grid"].items() if axis != key}
    if any(text.startswith("eval_split=") and text != SPLIT for text in plain):
        raise ConfigError(["eval_split: points are compared on align-val, never on test"])
    config = from_mapping(SweepConfig, raw)
    if not config.grid:
        raise ConfigError(['sweep: nothing is varied; name a file (SWEEP=ca-dpo-beta) or several values (ARGS="dpo.beta=0.05,0.1")'])
    return config, plain


def split_values(text: str) -> list[str]:
    """Values between the commas that stand in no bracket and no quote."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            values.append("")
            continue
        values[-1] += character
    return values


def plan_sweep(config: SweepConfig, recipe: str, scale: str, overrides: Sequence[str]) -> list[PlannedPoint]:
    """Compose and plan every point. Raises ConfigError with the mistakes of all points, each named once."""
    points: list[PlannedPoint] = []
    errors: dict[str, None] = {}
    for combination in itertools.product(*config.grid.values()):
        values = {key: _text(value) for key, value in zip(config.grid, combination, strict=True)}
        try:
            run = compose_run(recipe, scale, [*overrides, *(f"{key}={value}" for key, value in values.items()), SPLIT])
        except ConfigError as error:
            errors.update(dict.fromkeys(error.errors))
            continue
        nodes = plan(run)
        score = nodes[-1].inputs[run.recipe.rows[-1]]
        points.append(PlannedPoint(values=values, run=run, nodes=tuple(nodes[:-1]), score=score))
    if errors:
        raise ConfigError(list(errors))
    return points


def run_sweep(args: argparse.Namespace) -> int:
    """The command `sweep`; returns 1 when a point failed."""
    config, overrides = load_sweep(args.sweep, args.overrides)
    points = plan_sweep(config, args.recipe, args.scale, overrides)
    if args.dry:
        return _show(points)
    run = points[0].run
    folder = new_folder(Path(run.runs_dir), f"sweep-{run.recipe.name}-{args.sweep or 'args'}")
    screen = Screen(folder / "train.log")
    stages = {node.folder for point in points for node in point.nodes}
    screen.say(f"sweep over {', '.join(config.grid)}: {len(points)} points, {len(stages)} stages in all; run folder {folder}")
    for number, point in enumerate(points):
        freeze(folder, point.run, _texts(point), f"resolved/point-{number:03d}.yaml")
    results = [_waiting(point) for point in points]
    if run.launcher.kind == "slurm":
        _save(folder, config, results)
        for number, point in enumerate(points):
            screen.say(f"point {number + 1} of {len(points)}: {' '.join(_texts(point))}")
            own = folder / f"point-{number:03d}"
            own.mkdir()
            submit(point.nodes, point.run, own, screen)  # a stage that an earlier point's job makes gets none of its own
        screen.say(f"submitted; make status RUN={folder.name}/point-000 shows a point, make sweep-report RUN={folder.name} what there is")
        return 0
    done: set[Path] = set()
    failed: dict[Path, str] = {}
    for number, point in enumerate(points):
        screen.say(f"point {number + 1} of {len(points)}: {' '.join(_texts(point))}")
        results[number] = _run_point(point, folder.name, screen, done, failed)
        _save(folder, config, results)
    return report(folder, screen)


def run_report(args: argparse.Namespace) -> int:
    """The command `sweep-report`. Raises ConfigError for a folder that is no sweep's."""
    runs = Path("runs")
    folder = runs / args.run if args.run else max(runs.glob("sweep-*"), key=lambda path: path.stat().st_mtime, default=runs)
    if not (folder / POINTS).is_file():
        raise ConfigError([f"{folder}: holds no {POINTS}; name a run folder of make sweep with RUN=..."])
    return report(folder, Screen(None))


def report(folder: Path, screen: Screen) -> int:
    """Write and print the table and the plot of a sweep's points; returns 1 when some are missing."""
    raw = json.loads((folder / POINTS).read_text(encoding="utf-8"))
    points = read_points(raw["points"], [raw["metric"], *raw["columns"]])
    text = write_report(folder / "report", points, axes=raw["axes"], metric=raw["metric"], columns=raw["columns"])
    screen.table(text)
    screen.say(f"report: {folder / 'report'}")
    return 1 if any(point.values is None for point in points) else 0


def _run_point(point: PlannedPoint, run_name: str, screen: Screen, done: set[Path], failed: dict[Path, str]) -> PointResult:
    """Bring a point's stages to completion; `done` gains those that are complete, `failed` the one that did not end."""
    needed = next((node for node in point.nodes if node.folder in failed), None)
    if needed is not None:
        screen.say(f"  skipped: it needs {needed.name} {needed.fingerprint}, which failed")
        return _waiting(point, f"needs {needed.name} {needed.fingerprint}, which failed: {failed[needed.folder]}")
    try:
        run_nodes([(node, point.run) for node in point.nodes if node.folder not in done], run_name, screen)
    except StageFailed as error:
        reason = _reason(str(error))
        failed[next(node.folder for node in point.nodes if not is_complete(node.folder))] = reason
        screen.say(f"  failed: {error}")
        return _waiting(point, reason)
    finally:
        done |= {node.folder for node in point.nodes if is_complete(node.folder)}
    return _waiting(point)


def _reason(text: str) -> str:
    """A failed stage's message in one line: what failed, and the last error of the log that it shows."""
    first, *shown = text.splitlines()
    errors = [line.lstrip(" |") for line in shown if re.match(r"\s*\|\s*(\[rank\d+\]: )?[\w.]*(Error|TooManyBad|Unreachable): ", line)]
    return f"{first.partition('; the end of its log')[0]}" + (f": {errors[-1]}" if errors else "")


def _waiting(point: PlannedPoint, reason: str = "") -> PointResult:
    return PointResult(point=point.values, folder=str(point.score.folder), reason=reason)


def _save(folder: Path, config: SweepConfig, results: Sequence[PointResult]) -> None:
    raw = {"axes": list(config.grid), "metric": config.metric, "columns": list(config.columns), "points": [asdict(r) for r in results]}
    write_text(folder / POINTS, json.dumps(raw, indent=1))


def _texts(point: PlannedPoint) -> list[str]:
    return [f"{key}={value}" for key, value in point.values.items()]


def _text(value: Any) -> str:
    """A value as ARGS has it."""
    if isinstance(value, Mapping | list | tuple) or value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _show(points: Sequence[PlannedPoint]) -> int:
    console = Console(highlight=False, soft_wrap=True)
    seen: set[Path] = set()
    for point in points:
        new = [node for node in point.nodes if node.folder not in seen and not is_complete(node.folder)]
        seen |= {node.folder for node in point.nodes}
        console.print(f"{' '.join(_texts(point)):<40}  {len(new):>2} stages to run: {', '.join(node.name for node in new)}", markup=False)
    missing = sum(not is_complete(path) for path in seen)
    console.print(f"{len(points)} points, {missing} of {len(seen)} stages to run", markup=False)
    return 0
