"""What grids and searches share: one point of a sweep, how its stages are brought to completion, and the report over all points."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from inbol.reporting.sweep import PointResult, read_points, write_report
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from launch.compose import compose_run
from launch.console import Screen
from launch.jobs import StageFailed
from launch.local import run_nodes
from launch.plan import Node, plan

POINTS = "points.json"
SPLIT = "eval_split=align-val"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """One point of a sweep."""

    values: dict[str, str]
    run: RunConfig
    nodes: tuple[Node, ...]
    """Inputs first; the report, which is made over all points, is left out."""
    score: Node
    """Of the recipe's last row."""

    @property
    def texts(self) -> list[str]:
        """Its values as ARGS has them."""
        return [f"{key}={value}" for key, value in self.values.items()]

    def result(self, reason: str = "") -> PointResult:
        """Where its numbers will be, or why there are none."""
        return PointResult(point=self.values, folder=str(self.score.folder), reason=reason)


def plan_point(recipe: str, scale: str, overrides: Sequence[str], values: Mapping[str, str]) -> PlannedPoint:
    """Compose and plan one point, on `align-val`. Raises ConfigError with every mistake."""
    run = compose_run(recipe, scale, [*overrides, *(f"{key}={value}" for key, value in values.items()), SPLIT])
    nodes = plan(run)
    return PlannedPoint(values=dict(values), run=run, nodes=tuple(nodes[:-1]), score=nodes[-1].inputs[run.recipe.rows[-1]])


def text_of(value: Any) -> str:
    """A value as ARGS has it."""
    if isinstance(value, Mapping | list | tuple) or value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def run_point(point: PlannedPoint, run_name: str, screen: Screen, done: set[Path], failed: dict[Path, str]) -> PointResult:
    """Bring a point's stages to completion on this machine.

    Args:
        point: what to run.
        run_name: of the tracker's runs.
        screen: what is printed to.
        done: gains the folders that are complete.
        failed: gains the folder that did not end, with the reason; a point that needs one of them is skipped.
    """
    needed = next((node for node in point.nodes if node.folder in failed), None)
    if needed is not None:
        screen.say(f"  skipped: it needs {needed.name} {needed.fingerprint}, which failed")
        return point.result(f"needs {needed.name} {needed.fingerprint}, which failed: {failed[needed.folder]}")
    try:
        run_nodes([(node, point.run) for node in point.nodes if node.folder not in done], run_name, screen)
    except StageFailed as error:
        reason = reason_of(str(error))
        failed[next(node.folder for node in point.nodes if not is_complete(node.folder))] = reason
        screen.say(f"  failed: {error}")
        return point.result(reason)
    finally:
        done |= {node.folder for node in point.nodes if is_complete(node.folder)}
    return point.result()


def reason_of(text: str) -> str:
    """A failed stage's message in one line: what failed, and the last error of the log that it shows."""
    first, *shown = text.splitlines()
    errors = [line.lstrip(" |") for line in shown if re.match(r"\s*\|\s*(\[rank\d+\]: )?[\w.]*(Error|TooManyBad|Unreachable): ", line)]
    return f"{first.partition('; the end of its log')[0]}" + (f": {errors[-1]}" if errors else "")


def save_points(
    folder: Path,
    results: Sequence[PointResult],
    *,
    axes: Sequence[str],
    metric: str,
    columns: Sequence[str],
    scales: Mapping[str, str] | None = None,
) -> None:
    """Write down what `make sweep-report` reads; `scales` are those of `write_report`."""
    raw = {"axes": list(axes), "metric": metric, "columns": list(columns), "scales": scales, "points": [asdict(r) for r in results]}
    write_text(folder / POINTS, json.dumps(raw, indent=1))


def numbers_of(results: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> list[PointResult]:
    """As `read_points`. Raises ConfigError for a number that scores do not have."""
    try:
        return read_points(results, wanted)
    except ValueError as error:
        raise ConfigError([f"metric, columns: {error}"]) from None


def report(folder: Path, screen: Screen) -> int:
    """Write and print the table and the plot of a sweep's points; returns 1 when some are missing."""
    raw = json.loads((folder / POINTS).read_text(encoding="utf-8"))
    points = numbers_of(raw["points"], [raw["metric"], *raw["columns"]])
    text = write_report(folder / "report", points, axes=raw["axes"], metric=raw["metric"], columns=raw["columns"], scales=raw.get("scales"))
    screen.table(text)
    screen.say(f"report: {folder / 'report'}")
    return 1 if any(point.values is None for point in points) else 0


def run_report(args: argparse.Namespace) -> int:
    """The command `sweep-report`. Raises ConfigError for a folder that is no sweep's."""
    runs = Path("runs")
    found = [path.parent for path in runs.glob(f"*/{POINTS}")]
    folder = runs / args.folder if args.folder else max(found, key=lambda path: path.stat().st_mtime, default=runs)
    if not (folder / POINTS).is_file():
        raise ConfigError([f"{folder}: holds no {POINTS}; name a run folder of make sweep with RUN=..."])
    return report(folder, Screen(None))
