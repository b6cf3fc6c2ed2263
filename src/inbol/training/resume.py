"""Where a training goes on: the newest checkpoint that is whole, of the same training, made to fit the number of ranks."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inbol.shards.files import write_text
from inbol.training.checkpoints import FAILED, PREFIX, checkpoints, failure, sweep
from inbol.training.ranks import barrier, gathered

STREAM = "stream.json"
"""What a checkpoint's training was; a file of the checkpoint."""
UNIVERSAL = ".universal-"
"""A checkpoint converted for another number of ranks; removed when training ends or begins anew."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Where training goes on; the defaults are the start."""

    step: int = 0
    """Steps done."""
    folder: Path | None = None
    """What is loaded."""
    universal: bool = False
    """`folder` is a universal checkpoint, made from one of another number of ranks."""
    since: int = 0
    """Steps that the account does not cover: those before a resume with a changed stream."""
    changed: tuple[str, ...] = ()
    """What was changed since the checkpoint, by consent."""


def digest(lines: Iterable[str]) -> str:
    """sha256 over `lines`, their order included."""
    whole = hashlib.sha256()
    for line in lines:
        whole.update(f"{len(line)}\n{line}\n".encode())
    return whole.hexdigest()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`field: was -> is` for every field that differs; a field that one side does not have is `absent` there."""
    names = dict.fromkeys([*then, *now])
    old, new = ({name: json.dumps(value, sort_keys=True) for name, value in values.items()} for values in (then, now))
    return [f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}" for name in names if old.get(name) != new.get(name)]


def stream_facts(bound: Mapping[str, Any], *, world_size: int, since: int) -> str:
    """The text of a checkpoint's `stream.json`.

    Args:
        bound: what may not change: data, order, optimiser, as JSON values.
        world_size: number of ranks; may change.
        since: see `Resume`.
    """
    return json.dumps({"bound": bound, "world_size": world_size, "since": since}, indent=1) + "\n"


def find_resume(folder: Path, bound: Mapping[str, Any], *, rank: int, world_size: int, zero_stage: int, changed: bool = False) -> Resume:
    """Where the training in `folder` goes on. Called by all ranks, which all get the same, or the same error.

    A checkpoint that is not whole is passed over, with a warning that names it and the file, and renamed to `failed-checkpoint-<step>`.

    Args:
        folder: where checkpoints lie.
        bound: see `stream_facts`; of the training that is to go on.
        rank: of this process.
        world_size: number of ranks.
        zero_stage: from 1 on the optimiser's state is spread over the ranks, and another number of them needs a conversion.
        changed: go on although `bound` differs from the checkpoint's.

    Raises:
        ValueError: there are checkpoints, and none is whole; or the whole one belongs to another training, with every difference.
    """
    if rank == 0:
        sweep(folder)
        for left in folder.glob(f"{UNIVERSAL}*"):
            shutil.rmtree(left, ignore_errors=True)
    steps = gathered(checkpoints(folder), world_size)[0]  # after rank 0 has swept
    whole, failures = None, {}
    for step in steps:
        found = [reason for reason in gathered(failure(folder / f"{PREFIX}{step}", (rank, world_size)), world_size) if reason]
        if not found:
            whole = step
            break
        failures[step] = found[0]
    if whole is None:
        if failures:
            named = "; ".join(f"{folder / f'{PREFIX}{step}'}: {reason}" for step, reason in failures.items())
            raise ValueError(
                f"no checkpoint in {folder} is whole ({named}); put the files back, or delete these folders to train from the start"
            )
        return Resume()
    chosen = folder / f"{PREFIX}{whole}"
    for step, reason in failures.items():
        if rank == 0:
            aside = folder / f"{FAILED}{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (folder / f"{PREFIX}{step}").rename(aside)
            log.warning("checkpoint %s is not whole: %s; it is now %s, and training goes on from %s", step, reason, aside, chosen)
    then = json.loads((chosen / STREAM).read_text(encoding="utf-8"))
    found = differences(then["bound"], bound)
    if found and not changed:
        raise ValueError(
            f"{chosen} belongs to another training: {'; '.join(found)}. Restore what it was, delete {folder} to train from the start, "
            "or set optim.resume_changed=true to go on all the same"
        )
    if found and rank == 0:
        log.warning("training goes on from %s although it was another: %s", chosen, "; ".join(found))
    universal = zero_stage > 0 and then["world_size"] != world_size
    if universal:
        if rank == 0:
            log.warning("%s was written by %s ranks; it is converted for %s", chosen, then["world_size"], world_size)
        error = ""
        if rank == 0:
            try:
                to_universal(chosen, folder / f"{UNIVERSAL}{whole}")
            except RuntimeError as caught:
                error = str(caught)
        if error := gathered(error, world_size)[0]:
            raise RuntimeError(error)
    barrier(world_size)  # nobody looks before rank 0 has put the folders in order
    return Resume(
        step=whole,
        folder=folder / f"{UNIVERSAL}{whole}" if universal else chosen,
        universal=universal,
        since=whole if found else int(then["since"]),
        changed=tuple(found),
    )


def to_universal(checkpoint: Path, target: Path) -> None:
    """Convert a DeepSpeed checkpoint into one for any number of ranks, beside the trainer's own files; whole or absent.

    In a process of its own: the converter works with a pool of processes, which must not be forked from one that holds a device.

    Raises:
        RuntimeError: the conversion failed; with the end of what it said.
    """
    tag = (checkpoint / "latest").read_text().strip()
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    workers = str(max(1, min(8, (os.cpu_count() or 1) // 2)))
    command = [
        sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state", "--num_extract_workers", workers,
        "--num_merge_workers", workers, "--input_folder", str(checkpoint / tag), "--output_folder", str(part / f"{tag}_universal"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{checkpoint} could not be converted for another number of ranks:\n{(done.stdout + done.stderr)[-3000:]}")
    write_text(part / "latest_universal", f"{tag}_universal")
    for path in checkpoint.iterdir():
        if path.is_file() and path.name in ("trainer_state.json", "scheduler.pt", STREAM):
            shutil.copyfile(path, part / path.name)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each parameter group was made with."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def restore_hyperparameters(optimizer: torch.optim.Optimizer, scheduler: Any, made_with: list[dict[str, Any]]) -> None:
    """Undo what loading a universal (or a changed) checkpoint did to an optimiser beside its moments.

    DeepSpeed 0.19.8 gives every group of ZeRO-3 the hyperparameters of the first, so that weight decay would reach norms and biases, and
    all of them one `step` tensor, which AdamW then counts up once per group.

    Args:
        optimizer: torch's, whose state was loaded.
        scheduler: of the learning rate, at the step that was loaded.
        made_with: `hyperparameters` before loading.
    """
    for state in optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()
    scheduler.base_lrs = [group["lr"] for group in made_with]
    for group, fresh, factor in zip(optimizer.param_groups, made_with, scheduler.lr_lambdas, strict=True):
        group.update({name: value for name, value in fresh.items() if name in group and name != "step"})
        group["initial_lr"] = fresh["lr"]
        group["lr"] = fresh["lr"] * factor(scheduler.last_epoch)
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what is logged


def _short(text: str | None) -> str:
    if text is None:
        return "absent"
    return text if len(text) <= 80 else f"{text[:77]}..."
