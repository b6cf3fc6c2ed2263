"""The command line: `python -m launch train|table|plan|status|...` at the repository's root; `make help` has short forms."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from inbol.shards.manifest import is_complete
from inbol.stages.registry import STAGES
from launch import chain, slurm, ssh
from launch.calibrate import calibrate, risk_check
from launch.compose import CONF, compose_run, names, recipes
from launch.console import Screen
from launch.data_check import data_check
from launch.demo import demo
from launch.doctor import flash_attention, run_doctor
from launch.export import add_commands
from launch.jobs import StageFailed
from launch.local import on_hosts, run_nodes
from launch.plan import Node, plan
from launch.points import run_report
from launch.runs import freeze, link, new_folder
from launch.sweep import run_sweep
from launch.sync import sync
from launch.table import run_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, and prints mistakes as messages, not as tracebacks."""
    args = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return int(args.run(args))
    except ConfigError as error:
        for line in error.errors:
            errors.print(f"error: {line}", markup=False)
        return 2
    except StageFailed as error:
        errors.print(f"error: {error}", markup=False)
        errors.print("What is complete stays; the same command goes on from there.", markup=False)
        return 1
    except KeyboardInterrupt:
        errors.print("stopped; every process has ended, and the same command goes on from here", markup=False)
        return 130


def train(args: argparse.Namespace) -> int:
    """Run a recipe to its table."""
    start = time.monotonic()
    run = compose_run(_recipe(args.recipe), args.scale, args.overrides)
    nodes = plan(run)
    if args.dry:
        return _dry(run, nodes)
    name = f"{run.recipe.name}-{run.scale}"
    folder = new_folder(Path(run.runs_dir), name)
    screen = Screen(folder / "train.log")
    freeze(folder, run, args.overrides)
    screen.say(f"recipe {run.recipe.name}: {run.recipe.purpose}")
    screen.say(f"scale {run.scale}, seed {run.seed}, split {run.eval_split}, {_processes(run)}; run folder {folder}")
    flash = flash_attention()
    screen.say(f"flash-attn: {flash.found}")
    if run.launcher.kind == "slurm":
        return _submit(run, nodes, folder, screen, wait=args.wait)
    run_nodes([(node, run) for node in nodes], folder.name, screen, lambda node: link(folder, node))
    _table(nodes, folder, screen)
    screen.say(f"done in {time.monotonic() - start:.0f} s")
    return 0


def _table(nodes: Sequence[Node], folder: Path, screen: Screen) -> None:
    screen.table((nodes[-1].folder / "table.md").read_text(encoding="utf-8"))
    screen.say(f"report: {folder / 'report' / 'report.html'}")


def _submit(run: RunConfig, nodes: Sequence[Node], folder: Path, screen: Screen, *, wait: bool) -> int:
    """Submit the chain; with `wait`, follow it to its table."""
    for node in nodes:
        link(folder, node)
    jobs = slurm.submit(nodes, run, folder, screen)
    if not jobs.links:
        _table(nodes, folder, screen)
        return 0
    screen.say(f"submitted; make status, make logs and make cancel find it (RUN={folder.name}); the table will be {folder / 'report'}")
    if not wait:
        return 0
    try:
        rows = chain.follow(jobs, sys.stdout)
    except KeyboardInterrupt:
        screen.say("the jobs go on; make logs follows them again, make cancel ends them")
        return 130
    if not all(row.state == "complete" for row in rows):
        chain.status(jobs, sys.stdout)
        return 1
    _table(nodes, folder, screen)
    return 0


def _processes(run: RunConfig) -> str:
    launcher = run.launcher
    return f"{launcher.nodes} nodes x {launcher.ranks} processes" if launcher.nodes > 1 else f"{launcher.ranks} processes"


def _dry(run: RunConfig, nodes: Sequence[Node]) -> int:
    """Show the stages, or the jobs of a chain, and what would be started on other machines."""
    if run.launcher.kind == "slurm":
        sys.stdout.write(slurm.dry(nodes, run))
        return 0
    show(run, nodes)
    there = [node for node in nodes if on_hosts(node, run.launcher) and not is_complete(node.folder)]
    jobs = {node.name: (node.folder.resolve() / "job.json", STAGES[node.stage].parallel == "ranks") for node in there}
    if jobs:
        sys.stdout.write(ssh.dry(run.launcher, jobs))
    return 0


def show(run: RunConfig, nodes: Sequence[Node]) -> int:
    """Print the stages of a run and which of them are complete."""
    console = Console(highlight=False, soft_wrap=True)
    for node in nodes:
        reads = ", ".join(f"{role}: {parent.name}" for role, parent in node.inputs.items())
        state = "complete" if is_complete(node.folder) else "to run"
        console.print(f"{state:<8}  {node.name:<22} {node.fingerprint}  {reads}", markup=False)
    missing = sum(not is_complete(node.folder) for node in nodes)
    console.print(f"{run.recipe.name} at scale {run.scale}: {missing} of {len(nodes)} stages to run")
    return 0


def _recipe(name: str) -> str:
    if name:
        return name
    known = "\n".join(f"  {recipe:<16} {purpose}" for recipe, purpose in recipes().items())
    raise ConfigError([f"no recipe was named; take one of these, for example: make train RECIPE=inbol-dpo\n{known}"])


def _recipes(args: argparse.Namespace) -> int:
    for name, purpose in recipes().items():
        sys.stdout.write(f"{name:<16} {purpose}\n")
    return 0


def _plan(args: argparse.Namespace) -> int:
    from launch.costs import cost_lines  # torch, which the other commands start without

    ranks = [f"launcher.ranks={args.gpus}"] if args.gpus else []
    run = compose_run(_recipe(args.recipe), args.scale, [*args.overrides, *ranks])
    nodes = plan(run)
    show(run, nodes)
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    try:
        for line in cost_lines(run, nodes, args.gpu_memory):
            console.print(line, markup=False)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    return 0


def _data_check(args: argparse.Namespace) -> int:
    return data_check(args.data, args.ranks or 8, Path("runs") / "data-check")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _optional(kind: type[int] | type[float]) -> Callable[[str], float | None]:
    """A number above 0, or nothing for an empty text, which is what make passes for a variable that was not given."""

    def read(text: str) -> float | None:
        value = kind(text) if text else None
        if value is not None and value <= 0:
            raise argparse.ArgumentTypeError(f"{text} must be greater than 0")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launch", description="Recipes that teach a model when to answer and when to refuse.")
    commands = parser.add_subparsers(required=True, metavar="command")
    scales = ", ".join(names(CONF / "scale"))
    texts = {"train": "run a recipe to its table", "plan": "show the stages of a recipe, and what they take"}
    for name, function in (("train", train), ("plan", _plan)):
        command = commands.add_parser(name, help=texts[name])
        command.add_argument("--recipe", default="", help="name of a file in recipes/")
        command.add_argument("--scale", default="tiny", help=f"one of {scales}")
        command.add_argument("--dry", action="store_true", help="show the stages, run nothing")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="such as dpo.beta=0.2 or peft=lora")
        command.set_defaults(run=function)
        if name == "train":
            command.add_argument("--wait", action="store_true", help="with launcher=slurm: follow the jobs to the table")
        if name == "plan":
            command.add_argument("--gpus", type=_optional(int), help="ranks to plan for; launcher.ranks without it")
            command.add_argument("--gpu-memory", type=_optional(float), help="GiB of one GPU; says what to change where a stage needs more")
    table = commands.add_parser("table", help="run every recipe and seed of a table, and report them side by side")
    table.add_argument("--table", default="inbol-tiny", help=f"one of {', '.join(names(CONF / 'table'))}")
    table.add_argument("--dry", action="store_true", help="show the stages, run nothing")
    table.add_argument("overrides", nargs="*", metavar="key=value", help="applied to every entry")
    table.set_defaults(run=run_table)
    sweep = commands.add_parser("sweep", help="run a recipe at every point of a grid, or where Optuna looks, on align-val")
    sweep.add_argument("--recipe", default="inbol-dpo", help="name of a file in recipes/")
    sweep.add_argument("--sweep", default="", help=f"one of {', '.join(names(CONF / 'sweep'))}; without it ARGS are the grid")
    sweep.add_argument("--scale", default="tiny", help=f"one of {scales}")
    sweep.add_argument("--dry", action="store_true", help="show the points and their stages, run nothing")
    sweep.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # one of the processes of a search
    sweep.add_argument("overrides", nargs="*", metavar="key=value[,value]", help="several values make an axis of the grid")
    sweep.set_defaults(run=run_sweep)
    sweep_report = commands.add_parser("sweep-report", help="table and plot of a sweep, as far as it is")
    sweep_report.add_argument("--run", dest="folder", default="", help="its folder's name in runs/; the newest without it")
    sweep_report.set_defaults(run=run_report)
    about = {"status": "show the jobs of a run", "cancel": "cancel the jobs of a run", "logs": "follow what the jobs of a run write"}
    for name, text in about.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--run", dest="folder", default="", help="its folder or name; the newest that was submitted without it")
        command.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the run folders are")
        command.set_defaults(run=lambda args, name=name: chain.command(name, args.runs_dir, args.folder))
    sent = commands.add_parser("sync", help="send the offline W&B runs of a run's stages")
    sent.add_argument("--run", dest="folder", default="", help="its folder's name in runs/; the newest without it")
    sent.add_argument("--runs-dir", default="runs", help="where the run folders are")
    sent.add_argument("--dry", action="store_true", help="only list them")
    sent.set_defaults(run=sync)
    rule = commands.add_parser("calibrate", help="give a checkpoint a threshold from which on it refuses, for a risk that is promised")
    rule.add_argument("--checkpoint", default="", help="its folder")
    rule.add_argument("--risk", type=_optional(float), help="level of the risk; risk.level without it")
    rule.set_defaults(run=calibrate)
    splits = commands.add_parser("risk-check", help="whether calibrations of a recipe's last system keep what they promise")
    splits.add_argument("--recipe", default="inbol-dpo", help="name of a file in recipes/")
    splits.set_defaults(run=risk_check)
    for command in (rule, splits):
        command.add_argument("--scale", default="tiny", help=f"one of {scales}")
        command.add_argument("overrides", nargs="*", metavar="key=value", help="such as source.path=data/mine or risk.delta=0.05")
    page = commands.add_parser("demo", help="a local page that asks a checkpoint and its base")
    page.add_argument("--checkpoint", default="", help="checkpoint, stage or run folder; the newest finished run without it")
    page.add_argument("--base", default="", help="compared with, likewise; found by the manifests without it, none leaves it out")
    page.add_argument("overrides", nargs="*", metavar="key=value", help="such as port=7861")
    page.set_defaults(run=demo)
    check = commands.add_parser("data-check", help="read shards from beginning to end and say what they hold")
    check.add_argument("data", help="folder, glob or address with ranges")
    check.add_argument("--ranks", type=_optional(int), help="ranks that would share them; 8 without it")
    check.set_defaults(run=_data_check)
    add_commands(commands)
    commands.add_parser("recipes", help="list the recipes").set_defaults(run=_recipes)
    commands.add_parser("doctor", help="what this machine has and lacks").set_defaults(run=lambda args: run_doctor())
    return parser
