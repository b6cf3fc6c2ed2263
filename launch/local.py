"""Runs the nodes of a plan on this machine, in order: what is complete is reused, what fails says why, the manifest comes last."""

from __future__ import annotations

import fcntl
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inbol.config.run import RunConfig
from inbol.shards.manifest import is_complete, read_manifest, write_manifest
from inbol.stages.job import Job
from inbol.stages.registry import STAGES
from launch.console import Screen, brief
from launch.plan import Node
from launch.processes import deepspeed_command, environment, rank_environments, run_together, shard_commands

TAIL = 30
"""Lines of a failed stage's log that are shown."""


class StageFailed(RuntimeError):
    """A stage did not finish; the message is for the user. Its folder stays incomplete, and the next run takes it up again."""


def run_nodes(
    nodes: Sequence[tuple[Node, RunConfig]], run_name: str, screen: Screen, done: Callable[[Node], None] = lambda node: None
) -> None:
    """Bring every node to completion with the launcher and tracker of its run, calling `done` after each.

    Raises:
        StageFailed: at the first stage that fails; what came before it stays complete.
    """
    for number, (node, run) in enumerate(nodes, start=1):
        where = f"[{number:>2}/{len(nodes)}]"
        if is_complete(node.folder):
            screen.say(_line(where, "reused", node, read_manifest(node.folder)), style="dim")
        else:
            with locked(node.folder, screen):
                if is_complete(node.folder):  # another run has finished it meanwhile
                    screen.say(_line(where, "reused", node, read_manifest(node.folder)), style="dim")
                else:
                    screen.say(_line(where, "ran", node, run_node(node, run, run_name, screen)))
        done(node)


def run_node(node: Node, run: RunConfig, run_name: str, screen: Screen) -> dict[str, Any]:
    """Run one stage and write its manifest, which is returned. Raises StageFailed."""
    spec = STAGES[node.stage]
    world_size = 1 if spec.parallel == "inline" else run.launcher.ranks
    start = time.monotonic()
    inputs = {role: parent.folder.resolve() for role, parent in node.inputs.items()}
    job = Job(
        stage=node.stage,
        fingerprint=node.fingerprint,
        out=node.folder.resolve(),
        inputs=inputs,
        config=node.config,
        tracker=run.tracker,
        run_name=run_name,
    )
    log = job.out / f"{node.stage}.log"
    try:
        _remove(job.out, "progress-*.json", "facts-*.json", ".*.part")
        path = job.save()
        with screen.progress(node.name, job.out, shared=spec.parallel == "ranks"):
            if spec.parallel == "inline":
                facts = _run_inline(job)
            else:
                facts = _run_processes(node, path, run, log, summed=spec.parallel == "shards")
        _remove(job.out, "progress-*.json", "facts-*.json")
        return write_manifest(
            job.out,
            stage=node.stage,
            fingerprint=node.fingerprint,
            stage_version=spec.version,
            config=asdict(node.config),
            parents=node.parents,
            facts=facts,
            seconds=time.monotonic() - start,
            world_size=world_size,
        )
    except StageFailed:
        raise
    except Exception as error:
        if job.out.is_dir():
            with log.open("a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
        expected = isinstance(error, (ValueError, OSError))
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        raise StageFailed(f"{node.name} failed: {message}\nfolder: {node.folder}\nlog: {log}") from error


def _run_inline(job: Job) -> dict[str, Any]:
    facts: dict[str, Any] = importlib.import_module(f"inbol.stages.{job.stage}").run(job)
    return facts


def _run_processes(node: Node, job: Path, run: RunConfig, log: Path, *, summed: bool) -> dict[str, Any]:
    ranks, env = run.launcher.ranks, environment(run.launcher)
    if summed:
        code = run_together(shard_commands(job, ranks), rank_environments(env, ranks), log)
    else:
        code = run_together([deepspeed_command(job, ranks)], [env], log)
    reports = [job.with_name(f"facts-{rank}.json") for rank in range(ranks)]
    if code == 0 and all(report.is_file() for report in reports):
        return merge_facts([json.loads(report.read_text()) for report in reports], summed=summed)
    reason = f"ended with code {code}" if code else "ended without reporting from every rank"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:] if log.is_file() else []
    shown = "\n".join(f"  | {line}" for line in lines)
    raise StageFailed(f"{node.name} {reason}; the end of its log:\n{shown}\nfolder: {node.folder}\nlog: {log}")


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


@contextmanager
def locked(folder: Path, screen: Screen) -> Iterator[None]:
    """Hold the stage folder, so that two runs never write it together; the lock goes with this process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            screen.say(f"waiting for another run, which is writing {folder}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _line(where: str, what: str, node: Node, manifest: Mapping[str, Any]) -> str:
    read = ", ".join(dict.fromkeys(parent.name for parent in node.inputs.values())) or "nothing"
    facts = {key: value for key, value in manifest["facts"].items() if key != "peak_memory_gb"}
    wrote = f"{len(manifest['files'])} files" + (f": {brief(facts)}" if brief(facts) else "")
    took = f"{manifest['seconds']:.1f} s" if what == "ran" else f"({manifest['seconds']:.1f} s then)"
    return f"{where} {what:<6} {node.name:<22} {node.fingerprint}  {took:>14}  read {read}; wrote {wrote}"
