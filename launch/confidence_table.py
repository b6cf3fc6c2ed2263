"""Confidence estimators side by side: one base a seed, every estimator asked once, all graded on the same fresh samples."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from inbol.config.checks import one_of
from inbol.config.estimating import ESTIMATORS
from inbol.config.load import ConfigError, from_mapping
from inbol.config.run import RunConfig
from inbol.reporting.estimators import estimator_table, load_scored
from inbol.reporting.tables import Table, to_csv, to_latex, to_markdown
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from launch.compose import CONF, compose_run
from launch.console import Screen
from launch.local import run_nodes
from launch.plan import Node, estimate_nodes
from launch.runs import freeze, link, new_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorTable:
    """A file of `conf/table/` that has `estimators` instead of `entries`."""

    title: str
    recipe: str
    """Whose base is asked."""
    scale: str
    seeds: tuple[int, ...]
    split: str = "test"
    """The split that is scored; the fresh samples are drawn on `test`."""
    estimators: tuple[str, ...]
    """In the order of the rows; the others are compared with the first."""

    def __post_init__(self) -> None:
        one_of("split", self.split, ("test",))
        for name in self.estimators:
            one_of("estimators", name, ESTIMATORS)
        if not self.seeds or not self.estimators or len(set(self.estimators)) < len(self.estimators):
            raise ValueError("estimators: a table needs at least one seed and one estimator, each once")


def is_estimator_table(name: str) -> bool:
    """Whether `conf/table/<name>.yaml` compares estimators instead of systems."""
    path = CONF / "table" / f"{name}.yaml"
    return path.is_file() and "estimators" in yaml.safe_load(path.read_text(encoding="utf-8"))


def load_estimator_table(name: str) -> EstimatorTable:
    """The table `conf/table/<name>.yaml`. Raises ConfigError for every mistake in the file."""
    return from_mapping(EstimatorTable, yaml.safe_load((CONF / "table" / f"{name}.yaml").read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True)
class Planned:
    """One seed."""

    run: RunConfig
    nodes: list[Node]
    scores: Node


def plan_estimators(config: EstimatorTable, overrides: list[str]) -> list[Planned]:
    """The stages of every seed. Raises ConfigError."""
    planned = []
    for seed in config.seeds:
        run = compose_run(config.recipe, config.scale, [*overrides, f"seed={seed}"])
        planned.append(Planned(run, *estimate_nodes(run, config.split, config.estimators)))
    return planned


def run_estimator_table(args: argparse.Namespace) -> int:
    """The command `table` for such a table."""
    return make(args.table, load_estimator_table(args.table), list(args.overrides), dry=args.dry)


def make(name: str, config: EstimatorTable, overrides: list[str], *, dry: bool = False) -> int:
    """Plan, run and report; with `dry`, only show the stages."""
    planned = plan_estimators(config, overrides)
    nodes: dict[Path, tuple[Node, RunConfig]] = {}
    for one in planned:
        for node in one.nodes:
            nodes.setdefault(node.folder, (node, one.run))
    if dry:
        return _show(name, config, list(nodes.values()))
    first = planned[0].run
    if first.launcher.kind == "slurm":
        raise ConfigError(["launcher: a table is made here; take launcher=local"])
    folder = new_folder(Path(first.runs_dir), f"table-{name}")
    screen = Screen(folder / "train.log")
    screen.say(f"table {name}: {len(config.estimators)} estimators, seeds {list(config.seeds)}; run folder {folder}")
    for one in planned:
        freeze(folder, one.run, overrides, f"resolved/seed{one.run.seed}.yaml")
    run_nodes(list(nodes.values()), folder.name, screen)
    for one in planned:
        link(folder, one.scores, f"estimates-seed{one.run.seed}")
    table = report(config, planned, folder / "report")
    screen.table(to_markdown([table], heading=config.title))
    screen.say(f"report: {folder / 'report' / 'table.md'}")
    return 0


def report(config: EstimatorTable, planned: list[Planned], out: Path) -> Table:
    """Write `table.md|csv|tex` and `scores.json` from the score folders of all seeds."""
    scored = [
        load_scored(
            one.scores.inputs["vqa"].folder,
            one.scores.inputs["responses"].folder,
            one.scores.folder,
            split=config.split,
            estimators=config.estimators,
        )
        for one in planned
    ]
    score = planned[0].run.score
    table = estimator_table(scored, config.estimators, resamples=score.bootstrap, seed=score.seed, split=config.split)
    write_text(out / "table.md", to_markdown([table], heading=config.title))
    write_text(out / "table.csv", to_csv([table]))
    write_text(out / "table.tex", to_latex([table]))
    names = [column.name for column in table.columns]
    numbers = {
        estimator: {name: [cell.value, cell.low, cell.high] for name, cell in zip(names, cells, strict=True)}
        for estimator, (_, cells) in zip(config.estimators, table.rows, strict=True)
    }
    write_text(out / "scores.json", json.dumps({"seeds": list(config.seeds), "n": len(scored[0].keys), "estimators": numbers}, indent=1))
    return table


def _show(name: str, config: EstimatorTable, nodes: list[tuple[Node, RunConfig]]) -> int:
    console = Console(highlight=False, soft_wrap=True)
    for node, run in nodes:
        state = "complete" if is_complete(node.folder) else "to run"
        console.print(f"{state:<8}  seed {run.seed}  {node.name:<22} {node.fingerprint}", markup=False)
    missing = sum(not is_complete(node.folder) for node, _ in nodes)
    console.print(f"table {name}: {len(config.estimators)} estimators, {missing} of {len(nodes)} stages to run")
    return 0
