"""`make sync`: sends what the stages of a run have written offline to W&B, for nodes that have no network."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from inbol.config.load import ConfigError

OFFLINE = "tracker/wandb/offline-run-*"
"""In a stage's folder; one for each start, all of one run's id."""


def offline_runs(folder: Path) -> list[Path]:
    """The offline runs of all stages that a run folder links to, oldest first.

    Raises:
        ConfigError: no such folder, or none of its stages has written one.
    """
    if not folder.is_dir():
        raise ConfigError([f"sync: there is no run folder {folder}; name one of runs/ with RUN=..."])
    found = {path.resolve() for stage in folder.iterdir() if stage.is_dir() for path in stage.glob(OFFLINE)}
    if not found:
        raise ConfigError([f"sync: no stage of {folder} has offline runs; they are written with tracker=wandb-offline, the default"])
    return sorted(found, key=lambda path: path.name)


def sync(args: argparse.Namespace) -> int:
    """The command `sync`; returns the exit status of `wandb sync`, which leaves out what is synced already."""
    runs = Path(args.runs_dir)
    folders = [path for path in runs.glob("*") if (path / "resolved.yaml").is_file()]
    folder = runs / args.folder if args.folder else max(folders, key=lambda path: path.stat().st_mtime, default=runs / "<run>")
    found = offline_runs(folder)
    sys.stdout.write(f"{folder}: {len(found)} offline runs\n")
    sys.stdout.flush()
    command = [sys.executable, "-m", "wandb", "sync", *(["--dry-run"] if args.dry else []), *map(str, found)]
    return subprocess.run(command, check=False).returncode
