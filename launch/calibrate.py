"""`make calibrate` gives a checkpoint a rule for refusing; `make risk-check` looks whether such rules keep what they promise."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from inbol.shards.files import write_text
from launch.compose import compose_run
from launch.console import Screen
from launch.local import run_nodes
from launch.plan import Node, calibration_nodes, graded_nodes
from launch.rows import calibrated_row, labels
from launch.runs import freeze, link, new_folder

RECIPE = "refusal-prompt"
"""Gives a checkpoint that was trained elsewhere its data and nothing else."""
LEVELS = (0.02, 0.05, 0.10)
DRAWS = 100


def calibrate(args: argparse.Namespace) -> int:
    """Choose the threshold of a checkpoint on `align-val`, and save it in the checkpoint's folder. The test split is not read."""
    from inbol.evaluation.calibrated import read_calibration, write_calibration

    checkpoint = Path(args.checkpoint)
    if not args.checkpoint or not (checkpoint / "config.json").is_file():
        raise ConfigError([f"CKPT: {args.checkpoint!r} is no checkpoint folder (it has no config.json); name one on this machine"])
    level = [f"risk.level={args.risk}"] if args.risk else []
    own = ["base.kind=pretrained", f"base.path='{checkpoint.resolve()}'", "recipe.rows=[base,calibrated]", *level]
    run = _local(compose_run(RECIPE, args.scale, [*args.overrides, *own]))
    nodes = calibration_nodes(run)
    folder, screen = _begin("calibrate", run, args.overrides, nodes)
    rule = read_calibration(nodes[-1].folder)
    assert rule is not None
    path = write_calibration(checkpoint, rule)
    if (checkpoint.resolve().parent / "manifest.json").is_file():
        screen.say("the checkpoint belongs to a recipe: its predictions are made anew, with the rule, when the recipe runs again")
    refused = "refuses nothing more" if rule.threshold is None else f"refuses from {rule.score} {rule.threshold:.4f} nats on"
    shown = "n/a" if rule.validation_risk is None else f"{rule.validation_risk:.4f}"
    screen.say(f"promised: {rule.guarantee}")
    screen.say(
        f"the model {refused}; on {rule.split} risk {shown}, coverage {rule.validation_coverage:.4f} (all images, tested on {rule.images})"
    )
    screen.say(f"saved: {path}; run folder {folder}")
    return 0


def risk_check(args: argparse.Namespace) -> int:
    """Random halves of `align-val` and `test` by image, for three levels: how often the other half's risk is below the promise."""
    run = _local(compose_run(args.recipe, args.scale, args.overrides))
    nodes, graded = graded_nodes(run, ("align-val", "test"))
    folder, screen = _begin("risk-check", run, args.overrides, nodes)
    text = check_table(run, graded)
    write_text(folder / "table.md", text)
    screen.table(text)
    screen.say(f"run folder {folder}")
    return 0


def check_table(run: RunConfig, graded: dict[str, dict[str, Node]]) -> str:
    """The table of `make risk-check` as Markdown."""
    import numpy as np

    from inbol.evaluation.risk_control import achieved, choose
    from inbol.evaluation.risk_splits import pool, random_splits
    from inbol.reporting.tables import Cell, Column, Table, to_markdown
    from inbol.stages.calibrate import graded_responses, promise_of

    parts = {
        split: graded_responses({role: node.folder for role, node in inputs.items()}, split, run.risk.score)
        for split, inputs in graded.items()
    }
    both = pool(list(parts.values()))
    base = promise_of(run.risk)
    share = f"The promise: not broken in {1 - run.risk.delta:.0%} of the draws."
    if base.in_expectation:
        share = "The promise is about the mean over draws."
    before = achieved(both, np.inf, base)
    rows = []
    for level in LEVELS:
        promise = replace(base, level=level)
        splits = random_splits(both, promise, draws=DRAWS, seed=run.risk.seed)
        choice = choose(parts["align-val"], promise)
        on_test = achieved(parts["test"], choice.threshold, promise) if choice else (None, None)
        risk = None if np.isnan(splits.risk).all() else float(np.nanmean(splits.risk))
        cells = (
            Cell(text=str(splits.promised)),
            Cell(text=str(splits.below(level))),
            Cell(text=str(splits.draws - splits.promised + splits.below(level))),
            Cell(risk),
            Cell(float(splits.coverage.mean()) if splits.promised else None),
            Cell(on_test[0]),
            Cell(on_test[1]),
        )
        rows.append((f"{level:.2f}", cells))
    names = ("promised", "kept", "not broken", "mean risk", "mean coverage", "risk on test", "coverage on test")
    system = labels(run)[calibrated_row(run)]
    table = Table(
        "risk-check",
        f"{system}, seed {run.seed}: {base.risk} risk by the {run.risk.score}, {DRAWS} random halves by image",
        tuple(Column(name, "plain") for name in names),
        tuple(rows),
        corner="level",
        notes=(
            "promised: draws in which some threshold could be promised; kept: of these, the other half's risk is at most the level; "
            "not broken: kept, or nothing was promised. Means over the promised draws. on test: calibrated on align-val alone.",
            f"{both.images} images of align-val and test, {len(both.value)} questions; without a rule risk {_short(before[0])}, coverage "
            f"{_short(before[1])}. {share}",
        ),
    )
    return to_markdown([table])


def _short(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _local(run: RunConfig) -> RunConfig:
    if run.launcher.kind == "slurm":
        raise ConfigError(["launcher: a calibration runs on this machine; take launcher=local"])
    return run


def _begin(name: str, run: RunConfig, overrides: list[str], nodes: list[Node]) -> tuple[Path, Screen]:
    """Run the nodes in a new run folder."""
    folder = new_folder(Path(run.runs_dir), name)
    screen = Screen(folder / "train.log")
    freeze(folder, run, overrides)
    run_nodes([(node, run) for node in nodes], folder.name, screen, lambda node: link(folder, node))
    return folder, screen
