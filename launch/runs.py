"""The light folder of one run: the frozen configuration, links to the stage folders, and the log."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from inbol.config.run import RunConfig
from inbol.shards.files import write_text
from inbol.shards.manifest import git_revision
from inbol.text.masking import mask_text, masked
from launch.plan import Node


def new_folder(runs_dir: Path, name: str) -> Path:
    """Make and return `<runs_dir>/<name>-<time>`; a number is added when that exists."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1, 1000):
        folder = runs_dir / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{runs_dir / stem} and 999 others exist; clear {runs_dir} first")


def freeze(folder: Path, run: RunConfig, overrides: list[str], name: str = "resolved.yaml") -> None:
    """Write the whole configuration of a run, with where it came from in the header."""
    source = f"recipe {run.recipe.name}, scale {run.scale}, overrides: {' '.join(overrides) or 'none'}"
    header = f"# {source}\n# code: {git_revision() or 'unknown'}\n"
    write_text(folder / name, mask_text(header) + yaml.safe_dump(masked(plain(run)), sort_keys=False, allow_unicode=True))


def link(folder: Path, node: Node, name: str | None = None) -> None:
    """Link a finished stage folder into the run folder, relatively, so that `runs/` can be moved as a whole."""
    path = folder / (name or link_name(node.name))
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(node.folder, folder), target_is_directory=True)


def link_name(name: str) -> str:
    """`predict[sft,align-val]` -> `predict-sft-align-val`, which no shell stumbles over."""
    return re.sub(r"[\[\],]+", "-", name).strip("-")


def plain(run: Any) -> Any:
    """A dataclass as plain YAML values."""
    return json.loads(json.dumps(asdict(run)))
