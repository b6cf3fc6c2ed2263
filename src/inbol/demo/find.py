"""From what a person names to the checkpoint that is meant, its base, and the data of its run: by the manifests of stage folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from inbol.shards.manifest import is_complete, read_manifest

MODEL_STAGES = ("grpo", "dpo", "sft", "base")
"""Stages that write a checkpoint, the last of a recipe first."""
_LABELS = {"base": "base", "sft": "SFT", "dpo": "DPO", "grpo": "GRPO"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder, and the stage that wrote it."""

    path: Path
    label: str
    stage: Path | None = None
    """The stage's folder; None for a checkpoint that no recipe wrote."""

    @property
    def name(self) -> str:
        """`dpo/e5202a3e7ab26e6e`, or the folder's name."""
        return f"{self.stage.parent.name}/{self.stage.name}" if self.stage else self.path.name


@dataclass(frozen=True, slots=True)
class Data:
    """What a checkpoint's recipe asked about."""

    vqa: Path
    unsolvable: Path | None


def find_checkpoint(name: str, runs_dir: Path) -> Checkpoint:
    """The checkpoint meant by `name`: a checkpoint, stage or run folder, a run's name below `runs_dir`, or nothing for the newest finished
    run.

    Raises:
        ValueError: there is none, or its stage has not finished; with what is there and what to do.
    """
    if not name:
        return _of_run(newest_run(runs_dir))
    folder = Path(name) if Path(name).is_dir() else runs_dir / name
    if not folder.is_dir():
        raise ValueError(f"CKPT: there is no folder {name!r}, neither here nor in {runs_dir}; name a checkpoint, stage or run folder")
    if (folder / "resolved.yaml").is_file():
        return _of_run(folder)
    if (folder / "checkpoint").is_dir() or (folder / "job.json").is_file():
        return _of_stage(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"CKPT: {name!r} is no checkpoint (config.json), stage (checkpoint/) or run folder (resolved.yaml)")
    folder = folder.absolute()  # not resolved: a pretrained base's checkpoint is a link out of its stage
    stage = folder.parent
    return _of_stage(stage) if folder.name == "checkpoint" and is_complete(stage) else Checkpoint(folder, folder.resolve().name)


def newest_run(runs_dir: Path) -> Path:
    """The run folder below `runs_dir` that was begun last, of those whose report is complete. Raises ValueError where there is none."""
    found = [path.parent for path in runs_dir.glob("*/resolved.yaml") if is_complete(path.parent / "report")]
    if not found:
        there = "has no finished run" if runs_dir.is_dir() else "does not exist"
        raise ValueError(f"CKPT: none was named, and {runs_dir} {there}; run make train RECIPE=inbol-dpo first, or name one with CKPT=...")
    return max(found, key=lambda run: ((run / "resolved.yaml").stat().st_mtime, run.name))


def base_of(checkpoint: Checkpoint) -> Checkpoint | None:
    """The base that a checkpoint was trained from, by the manifests of its stages; None for a base itself or where no recipe wrote it.

    Raises:
        ValueError: a stage on the way is gone.
    """
    folder, trained = checkpoint.stage, False
    while folder is not None and read_manifest(folder)["stage"] != "base":
        folder, trained = parent(folder, "model"), True
    return _of_stage(folder) if folder is not None and trained else None


def data_of(checkpoint: Checkpoint) -> Data | None:
    """The images that a checkpoint's recipe was made with, and the questions beyond them; None where no recipe wrote it."""
    if checkpoint.stage is None:
        return None
    inputs = [read_manifest(checkpoint.stage)["parents"], *(manifest["parents"] for manifest in _predictions(checkpoint.stage))]
    runs, found = checkpoint.stage.parent.parent, dict[str, Path]()
    while inputs:
        parents = inputs.pop(0)
        for role, number in parents.items():
            if (folder := _folder(runs, number)) is not None:
                found.setdefault(role, folder)
                if role not in ("model", "vqa", "unsolvable"):
                    inputs.append(read_manifest(folder)["parents"])
    return Data(found["vqa"], found.get("unsolvable")) if "vqa" in found else None


def asked_as(checkpoint: Checkpoint, *, prompt: str, max_new_tokens: int) -> tuple[str, int]:
    """(prompt style, longest response in tokens) of the `predict` stage that asked this checkpoint, the plain one where there are several
    styles; the arguments where none did."""
    found = [manifest["config"] for manifest in _predictions(checkpoint.stage)] if checkpoint.stage else []
    if not found:
        return prompt, max_new_tokens
    config = next((config for config in found if config["prompt"] == prompt), found[0])
    return str(config["prompt"]), int(config["predict"]["max_new_tokens"])


def parent(folder: Path, role: str) -> Path | None:
    """The folder of one input of a stage; None where it has none of this role. Raises ValueError where the folder is gone."""
    number = read_manifest(folder)["parents"].get(role)
    if number is None:
        return None
    if (found := _folder(folder.parent.parent, number)) is None:
        raise ValueError(f"{folder}: its input {role} ({number}) is not in {folder.parent.parent}; run the recipe again, or name BASE=...")
    return found


def _folder(runs: Path, number: str) -> Path | None:
    return next((path.parent for path in sorted(runs.glob(f"*/{number}/manifest.json"))), None)


def _predictions(stage: Path) -> Iterator[dict[str, Any]]:
    """Manifests of the `predict` stages that asked the model of this one about the recipe's own images."""
    number = read_manifest(stage)["fingerprint"]
    for path in sorted((stage.parent.parent / "predict").glob("*/manifest.json")):
        manifest = read_manifest(path.parent)
        parents = manifest["parents"]
        if parents.get("model") == number and parents.get("vqa") != parents.get("unsolvable"):  # a benchmark's data are both
            yield manifest


def _of_stage(folder: Path, label: str = "") -> Checkpoint:
    stage = str(read_manifest(folder)["stage"])
    if not (folder / "checkpoint" / "config.json").is_file():
        raise ValueError(f"CKPT: {folder} holds no checkpoint (stage {stage}); stages that have one are {', '.join(MODEL_STAGES)}")
    return Checkpoint(folder.resolve() / "checkpoint", label or _LABELS.get(stage, stage), folder.resolve())


def _of_run(run: Path) -> Checkpoint:
    """The last system that a run trains, or its base. Raises ValueError where its stage has not finished."""
    config = yaml.safe_load((run / "resolved.yaml").read_text(encoding="utf-8"))
    if config.get("features"):
        raise ValueError(
            f"CKPT: {run} asks its models with confidence and entropy behind the question, which the page does not; take another"
        )
    recipe = config["recipe"]
    trained = [row for row in recipe["rows"] if row.partition("-")[0] in ("sft", "dpo", "grpo")]
    row = trained[-1] if trained else "base"
    wanted = row.replace("dpo-", "dpo-round ")
    if not is_complete(run / wanted):
        there = [stage for stage in MODEL_STAGES if is_complete(run / stage)]
        other = f"; CKPT={run / there[0]} is" if there else ""
        raise ValueError(f"CKPT: the stage {wanted} of {run} is not complete{other}; run the recipe again to finish it")
    return _of_stage(run / wanted, (recipe.get("labels") or {}).get(row, ""))
