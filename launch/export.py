"""`make export` and `make card`: the data and the models of a finished run, handed out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from inbol.config.load import ConfigError
from inbol.config.run import is_trained, round_of
from inbol.exporting.card import Model, card_text, export_model
from inbol.exporting.layouts import FORMATS
from inbol.exporting.write import export_data
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from launch.runs import link_name


def export(args: argparse.Namespace) -> int:
    """Write a run's training data in another project's layout. Raises ConfigError for what stands in the way."""
    run = run_folder(args.run_folder, args.runs_dir)
    data = {kind: run / stage for kind, stage in (("sft", "sft_data"), ("pairs", "pairs")) if is_complete(run / stage)}
    try:
        written, manifest = export_data(_out(args.out), args.format, _stage(run, "ingest"), data, run=run.name)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    rows = ", ".join(f"{count} {kind}" for kind, count in manifest["facts"]["rows"].items())
    _say(f"{'written' if written else 'unchanged'}  {args.out}: {rows} rows; its README.md says how to load them")
    return 0


def card(args: argparse.Namespace) -> int:
    """Write the model card of a run's models, or one model with its card. Raises ConfigError for what stands in the way."""
    run = run_folder(args.run_folder, args.runs_dir)
    config = yaml.safe_load((run / "resolved.yaml").read_text(encoding="utf-8"))
    trained = [row for row in rows_trained(config) if is_complete(_link(run, row))]
    rows = [row for row in trained if (args.model or row) == row]
    if not rows:
        raise ConfigError([f"MODEL: {run} trained no model {args.model or 'at all'}; it has {', '.join(trained) or 'none'}"])
    try:
        if args.out:
            written, _ = export_model(Path(args.out), _model(run, config, rows[0]))
            _say(f"{'written' if written else 'unchanged'}  {args.out}: model {rows[0]} with its README.md")
            return 0
        for row in rows:
            path = run / "cards" / row / "README.md"
            write_text(path, card_text(_model(run, config, row)))
            _say(f"written  {path}")
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    return 0


def run_folder(name: str, runs_dir: Path) -> Path:
    """The run folder that is meant by a path or a name. Raises ConfigError."""
    if not name:
        raise ConfigError([f"RUN: no run was named; it is a folder of {runs_dir}/, for example RUN=inbol-dpo-tiny-20261122-080245"])
    for folder in (Path(name), runs_dir / name):
        if (folder / "resolved.yaml").is_file():
            return folder
    raise ConfigError([f"RUN: {name}: no run folder (with resolved.yaml), neither here nor in {runs_dir}/"])


def rows_trained(config: dict[str, Any]) -> list[str]:
    """Rows of the recipe that stand for a model of the run's own, the last of the method first."""
    rows = [row for row in config["recipe"]["rows"] if is_trained(row)]
    if any(map(round_of, rows)) and "sft" not in rows:
        rows.insert(0, "sft")
    own_base = config["base"]["kind"] != "pretrained"  # somebody else's has a card of its own
    return [*reversed(rows), *(["base"] if own_base else [])]


def _link(run: Path, row: str, stage: str = "dpo") -> Path:
    """Where a run folder has the model of a row, or another stage of its round."""
    number = round_of(row)
    return run / (row if not number else stage if number == 1 else link_name(f"{stage}[round {number}]"))


def _model(run: Path, config: dict[str, Any], row: str) -> Model:
    score = run / f"score-{row}"
    places = {name: run / name for name in ("ingest", "sft_data", "sft", "base")} | {
        "pairs": _link(run, row if round_of(row) else "dpo", "pairs")
    }
    inputs = {name: place for name, place in places.items() if is_complete(place)}
    return Model(row=row, run=run.name, folder=_link(run, row), inputs=inputs, score=score if is_complete(score) else None, config=config)


def _stage(run: Path, name: str) -> Path:
    if not is_complete(run / name):
        raise ConfigError([f"RUN: {run} has no complete stage {name}; finish the run first"])
    return run / name


def _out(name: str) -> Path:
    if not name:
        raise ConfigError(["OUT: no folder was named to write to"])
    return Path(name)


def _say(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(line, markup=False)


def add_commands(commands: Any) -> None:
    """The two commands of the command line."""
    about = {
        "export": (export, "write a run's training data for another trainer"),
        "card": (card, "write a model card, or a model with it"),
    }
    for name, (function, text) in about.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--run", dest="run_folder", default="", help="a run folder, or its name")
        command.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the run folders are")
        command.add_argument("--out", default="", help="folder to be made")
        if name == "export":
            command.add_argument("--format", default="", help=f"one of {', '.join(FORMATS)}")
        else:
            command.add_argument("--model", default="", help="sft, dpo, dpo-2, ..., grpo or base; the last of the method without it")
        command.set_defaults(run=function)
