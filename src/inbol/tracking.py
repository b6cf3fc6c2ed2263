"""Where curves, tables and pictures of a run go: W&B, trackio, TensorBoard or nowhere, behind one small protocol.

Open a tracker on rank 0 alone, kind `none` elsewhere, so that code never asks whether it is tracked. Packages are imported when their
kind is opened. Nothing from the environment, the machine or the code is logged, only what is passed in; configs go through `masked`.
"""

from __future__ import annotations

import importlib
import json
import numbers
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from inbol.text.masking import masked

TRACKERS = ("wandb", "wandb-offline", "trackio", "tensorboard", "none")


class Tracker(Protocol):
    """A place that a run logs to. Steps are optimiser steps and must not fall."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Points of curves at one step, named `group/name` as TRL does (`rewards/margins`)."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of numbers and strings; every row has one value per column."""

    def image(self, name: str, path: Path) -> None:
        """A PNG or JPEG file."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Final values of the run, shown beside its name."""

    def artifact(self, name: str, folder: Path, facts: Mapping[str, Any]) -> None:
        """A model that lies in `folder`, by reference: where it is and what it is made of, none of its bytes."""

    def finish(self) -> None:
        """Flush and close; nothing may be logged afterwards."""


class NullTracker:
    """Forgets everything."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Tracker`."""

    def image(self, name: str, path: Path) -> None:
        """See `Tracker`."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""

    def artifact(self, name: str, folder: Path, facts: Mapping[str, Any]) -> None:
        """See `Tracker`."""

    def finish(self) -> None:
        """See `Tracker`."""


class WandbTracker:
    """Weights & Biases, online or as a folder that `wandb sync` uploads later."""

    def __init__(self, *, offline: bool, project: str, run_name: str, group: str, config: dict[str, Any], folder: Path) -> None:
        self._wandb = _package("wandb")
        self._run = self._wandb.init(
            project=project,
            name=run_name,
            group=group or None,
            config=config,
            dir=str(folder),
            mode="offline" if offline else "online",
            id=_run_id(folder / "wandb-run-id"),  # a requeued stage goes on with its curve; a stage made anew starts another
            resume="allow",
            settings=self._wandb.Settings(
                console="off",
                host="",
                quiet=True,
                save_code=False,
                disable_git=True,
                x_disable_stats=True,
                x_disable_meta=True,  # user, command line and paths
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(dict(metrics), step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Tracker`. Joins the current step: a commit would move W&B's own step past the next one to be logged."""
        table = self._wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self._run.log({name: table}, commit=False)

    def image(self, name: str, path: Path) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Image(str(path))}, commit=False)

    def summary(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        self._run.summary.update(masked(values))

    def artifact(self, name: str, folder: Path, facts: Mapping[str, Any]) -> None:
        """See `Tracker`."""
        artifact = self._wandb.Artifact(name, type="model", metadata=masked(dict(facts)))
        artifact.add_reference(folder.resolve().as_uri(), checksum=False)  # the facts have the sha256 of every file
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class TrackioTracker:
    """trackio: a local SQLite file with W&B's calls, shown by `trackio show`. `TRACKIO_DIR` wins over the run's folder when it is set."""

    def __init__(self, *, project: str, run_name: str, group: str, config: dict[str, Any], folder: Path) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))  # read once, when trackio is imported
        self._trackio = _package("trackio")
        self._run = self._trackio.init(
            project=project, name=run_name, group=group or None, config=config, resume="allow", embed=False, auto_log_gpu=False
        )
        self._step = 0

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._step = step
        self._run.log(dict(metrics), step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Tracker`."""
        self._run.log({name: self._trackio.Table(columns=list(columns), data=[list(row) for row in rows])}, step=self._step)

    def image(self, name: str, path: Path) -> None:
        """See `Tracker`."""
        self._run.log({name: self._trackio.Image(str(path))}, step=self._step)

    def summary(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`. trackio has no summary: the values become `summary/<name>` at the last step."""
        self._run.log({f"summary/{key}": value for key, value in masked(values).items()}, step=self._step)

    def artifact(self, name: str, folder: Path, facts: Mapping[str, Any]) -> None:
        """See `Tracker`. A text, `artifact/<name>`."""
        self._run.log({f"artifact/{name}": _code_block({"folder": str(folder), **masked(dict(facts))})}, step=self._step)

    def finish(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class TensorboardTracker:
    """TensorBoard event files in `<folder>/tensorboard`."""

    def __init__(self, *, project: str, run_name: str, group: str, config: dict[str, Any], folder: Path) -> None:
        _package("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(folder / "tensorboard"))
        self._step = 0
        about = {"project": project, "run": run_name, "group": group, "config": config}
        self._writer.add_text("config", _code_block(about), 0)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, float(value), step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """See `Tracker`. Written as a Markdown table."""
        lines = [list(columns), ["---"] * len(columns), *rows]
        self._writer.add_text(name, "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines), self._step)

    def image(self, name: str, path: Path) -> None:
        """See `Tracker`."""
        import numpy
        from PIL import Image

        with Image.open(path) as image:
            self._writer.add_image(name, numpy.asarray(image.convert("RGB")), self._step, dataformats="HWC")

    def summary(self, values: Mapping[str, Any]) -> None:
        """See `Tracker`. Numbers become `summary/<name>` at the last step, and all values one text."""
        for name, value in values.items():
            if isinstance(value, numbers.Real):
                self._writer.add_scalar(f"summary/{name}", float(value), self._step)
        self._writer.add_text("summary", _code_block(masked(values)), self._step)

    def artifact(self, name: str, folder: Path, facts: Mapping[str, Any]) -> None:
        """See `Tracker`. A text, `artifact/<name>`."""
        self._writer.add_text(f"artifact/{name}", _code_block({"folder": str(folder), **masked(dict(facts))}), self._step)

    def finish(self) -> None:
        """See `Tracker`."""
        self._writer.close()


def open_tracker(kind: str, *, project: str, run_name: str, group: str, config: dict[str, Any], folder: Path) -> Tracker:
    """The tracker of one run.

    Args:
        kind: one of `TRACKERS`.
        project: the tracker's project.
        run_name: name of the run in it.
        group: runs that belong together (the stages of one recipe run); empty for none.
        config: what the run was made with; logged through `masked`.
        folder: where local files go, made when needed; the same folder again continues the run where the tracker can.

    Raises:
        ValueError: an unknown kind, or a kind whose package is not installed (the message names the pip extra).
    """
    if kind not in TRACKERS:
        raise ValueError(f"tracker.kind: {kind!r} is not one of {', '.join(map(repr, TRACKERS))}")
    if kind == "none":
        return NullTracker()
    folder.mkdir(parents=True, exist_ok=True)
    safe = masked(config)
    if kind == "trackio":
        return TrackioTracker(project=project, run_name=run_name, group=group, config=safe, folder=folder)
    if kind == "tensorboard":
        return TensorboardTracker(project=project, run_name=run_name, group=group, config=safe, folder=folder)
    return WandbTracker(offline=kind == "wandb-offline", project=project, run_name=run_name, group=group, config=safe, folder=folder)


def _package(name: str) -> ModuleType:
    """Import a tracker's package, or say how to get it; the pip extra of an optional one has the package's name."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        wanted = name if name == "wandb" else f"'inbol-recipes[{name}]'"
        raise ValueError(
            f"tracker.kind: {name!r} cannot be used, its package does not import ({error}); pip install {wanted}, or choose tracker=none"
        ) from None


def _run_id(path: Path) -> str:
    """The run id kept in `path`, drawn when the file is absent."""
    if not path.exists():
        path.write_text(secrets.token_hex(4))
    return path.read_text().strip()


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _code_block(value: Any) -> str:
    """JSON as Markdown shows it verbatim: four spaces before each line."""
    return "\n".join("    " + line for line in json.dumps(value, indent=1, sort_keys=True).splitlines())
