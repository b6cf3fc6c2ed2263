"""A stage's orders before its processes start, and its manifest after they have ended: the same under every launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inbol.config.run import RunConfig
from inbol.shards.manifest import write_manifest
from inbol.stages.job import Job
from inbol.stages.registry import STAGES
from launch.plan import Node

TAIL = 30
"""Lines of a failed stage's log that are shown."""


class StageFailed(RuntimeError):
    """A stage did not finish; the message is for the user. Its folder stays incomplete, and the next run takes it up again."""


def job_of(node: Node, run: RunConfig, run_name: str) -> Job:
    """The orders of a node for a run."""
    return Job(
        stage=node.stage,
        fingerprint=node.fingerprint,
        out=node.folder.resolve(),
        inputs={role: parent.folder.resolve() for role, parent in node.inputs.items()},
        config=node.config,
        tracker=run.tracker,
        run_name=run_name,
    )


def log_of(job: Job) -> Path:
    """Where all output of a stage's processes goes."""
    return job.out / f"{job.stage}.log"


def clear(job: Job, *more: str) -> None:
    """Remove what the processes of an earlier start reported."""
    for pattern in ("progress-*.json", "facts-*.json", *more):
        for path in job.out.glob(pattern):
            path.unlink(missing_ok=True)


def reports(job: Job, ranks: int) -> list[dict[str, Any]]:
    """What the processes of a stage reported; one that has not is left out. A report with `stopped` is of one that was told to stop."""
    files = [job.out / f"facts-{rank}.json" for rank in range(ranks)]
    return [json.loads(path.read_text()) for path in files if path.is_file()]


def complete(job: Job, facts: Mapping[str, Any], *, seconds: float, world_size: int) -> dict[str, Any]:
    """Write the manifest of a stage whose work is done, and return it."""
    clear(job)
    return write_manifest(
        job.out,
        stage=job.stage,
        fingerprint=job.fingerprint,
        stage_version=STAGES[job.stage].version,
        config=asdict(job.config),
        parents={role: folder.name for role, folder in job.inputs.items()},
        facts=facts,
        seconds=seconds,
        world_size=world_size,
    )


def merge_facts(facts: Sequence[Mapping[str, Any]], *, summed: bool) -> dict[str, Any]:
    """The facts of all ranks as one: what is equal stands once, what differs as a list by rank.

    `summed` is for independent processes, whose whole numbers are counts of their own share: those are added, also within counts by group.
    Keys that speak of `this_rank` and the peak memory are always lists.
    """
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in facts for key in one):
        values = [one[key] for one in facts if key in one]
        counts = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
        if "this_rank" in key or key == "peak_memory_gb":
            merged[key.replace("by_this_rank", "by_rank").replace("this_rank", "by_rank")] = values
        elif summed and counts:
            merged[key] = sum(values)
        elif all(isinstance(value, Mapping) for value in values):
            merged[key] = merge_facts(values, summed=summed)
        else:
            merged[key] = values[0] if all(value == values[0] for value in values) else values
    return merged


def linked(node: Node) -> bool:
    """Whether a stage only links a pretrained base, for which one process without an accelerator is enough."""
    return node.stage == "base" and node.config.base.kind == "pretrained"


def last_lines(log: Path, count: int = TAIL, *, start: str = "") -> list[str]:
    """The end of a log, or of its lines that begin so; nothing where there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return [line for line in lines if line.startswith(start)][-count:]
