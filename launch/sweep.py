"""`make sweep`: a recipe at every point of a grid. Points share every stage they have in common; one that fails does not stop the others.

Points are compared on `align-val`: choosing by the test split would spend it. A file with a `space` is searched (`launch/search.py`).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from inbol.config.load import ConfigError, from_mapping
from inbol.config.sweeping import SearchConfig, SweepConfig
from inbol.reporting.sweep import PointResult
from inbol.shards.manifest import is_complete
from launch import lanes
from launch.compose import CONF, names
from launch.console import Screen
from launch.points import SPLIT, PlannedPoint, plan_point, report, run_point, save_points, text_of
from launch.runs import freeze, new_folder
from launch.search import run_search

OWN = "sweep."
"""Overrides of the sweep itself, such as `sweep.trials=40`."""


def load_sweep(name: str, overrides: Sequence[str]) -> tuple[SweepConfig | SearchConfig, list[str]]:
    """(the sweep `conf/sweep/<name>.yaml` with the axes that `overrides` add, the other overrides).

    An override with several values, `dpo.beta=0.05,0.1`, is an axis of a grid; commas in brackets and quotes are the value's own. One with
    a single value takes an axis away. Without a name the overrides are the whole grid.

    Raises:
        ConfigError: no such file, every mistake in it, or no axis at all.
    """
    raw: dict[str, Any] = {"grid": {}}
    if name:
        path = CONF / "sweep" / f"{name}.yaml"
        if not path.is_file():
            raise ConfigError([f"sweep: there is no {name!r}; there are {', '.join(names(CONF / 'sweep'))}"])
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    varied = "space" if "space" in raw else "grid"
    plain = []
    for text in overrides:
        key, _, value = text.partition("=")
        values = split_values(value)
        if key.startswith(OWN):
            raw[key.removeprefix(OWN)] = yaml.safe_load(value)
        elif len(values) > 1 and varied == "grid":
            raw["grid"] = {**raw["grid"], key: values}
        else:
            plain.append(text)
            raw[varied] = {axis: kept for axis, kept in raw[varied].items() if axis != key}
    if any(text.startswith("eval_split=") and text != SPLIT for text in plain):
        raise ConfigError(["eval_split: points are compared on align-val, never on test"])
    if varied == "space":
        return from_mapping(SearchConfig, raw, "sweep"), plain
    config = from_mapping(SweepConfig, raw, "sweep")
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
        values = {key: text_of(value) for key, value in zip(config.grid, combination, strict=True)}
        try:
            points.append(plan_point(recipe, scale, overrides, values))
        except ConfigError as error:
            errors.update(dict.fromkeys(error.errors))
    if errors:
        raise ConfigError(list(errors))
    return points


def run_sweep(args: argparse.Namespace) -> int:
    """The command `sweep`; returns 1 when a point failed."""
    config, overrides = load_sweep(args.sweep, args.overrides)
    if isinstance(config, SearchConfig):
        return run_search(args, config, overrides)
    points = plan_sweep(config, args.recipe, args.scale, overrides)
    run = points[0].run
    if args.dry:
        return _show(points, config)
    folder = new_folder(Path(run.runs_dir), f"sweep-{run.recipe.name}-{args.sweep or 'args'}")
    screen = Screen(folder / "train.log")
    stages = {node.folder for point in points for node in point.nodes}
    screen.say(f"sweep over {', '.join(config.grid)}: {len(points)} points, {len(stages)} stages in all; run folder {folder}")
    for number, point in enumerate(points):
        freeze(folder, point.run, point.texts, f"resolved/point-{number:03d}.yaml")
    results = [point.result() for point in points]
    if run.launcher.kind == "slurm":
        _save(folder, config, results)
        lanes.submit_points(points, folder, config.limit, screen)
        screen.say(f"submitted; make status RUN={folder.name}/point-000 shows a point, make sweep-report RUN={folder.name} what there is")
        return 0
    done: set[Path] = set()
    failed: dict[Path, str] = {}
    for number, point in enumerate(points):
        screen.say(f"point {number + 1} of {len(points)}: {' '.join(point.texts)}")
        results[number] = run_point(point, folder.name, screen, done, failed)
        _save(folder, config, results)
    return report(folder, screen)


def _save(folder: Path, config: SweepConfig, results: Sequence[PointResult]) -> None:
    save_points(folder, results, axes=list(config.grid), metric=config.metric, columns=config.columns)


def _show(points: Sequence[PlannedPoint], config: SweepConfig) -> int:
    if points[0].run.launcher.kind == "slurm":
        sys.stdout.write(lanes.dry(points, config.limit))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    seen: set[Path] = set()
    for point in points:
        new = [node for node in point.nodes if node.folder not in seen and not is_complete(node.folder)]
        seen |= {node.folder for node in point.nodes}
        console.print(f"{' '.join(point.texts):<40}  {len(new):>2} stages to run: {', '.join(node.name for node in new)}", markup=False)
    missing = sum(not is_complete(path) for path in seen)
    console.print(f"{len(points)} points, {missing} of {len(seen)} stages to run", markup=False)
    return 0
