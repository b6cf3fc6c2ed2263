"""Runs the nodes of a plan, in order: what is complete is reused, what fails says why, the manifest comes last.

Processes are started on this machine, or, with `launcher=ssh`, on those of a hostfile.
"""

from __future__ import annotations

import fcntl
import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inbol.config.launching import LauncherConfig
from inbol.config.run import RunConfig
from inbol.shards.manifest import is_complete, read_manifest
from inbol.stages.job import Job
from inbol.stages.registry import STAGES
from launch import ssh
from launch.console import Screen, brief
from launch.jobs import StageFailed, clear, complete, job_of, last_lines, linked, log_of, merge_facts, reports
from launch.plan import Node
from launch.processes import collective_command, environment, rank_environments, run_together, shard_commands


def run_nodes(
    nodes: Sequence[tuple[Node, RunConfig]], run_name: str, screen: Screen, done: Callable[[Node], None] = lambda node: None
) -> None:
    """Bring every node to completion with the launcher and tracker of its run, calling `done` after each.

    Raises:
        StageFailed: at the first stage that fails; what came before it stays complete.
        ConfigError: a machine of the hostfile cannot take part; nothing was started.
    """
    looked_at: list[LauncherConfig] = []
    for node, run in nodes:
        if on_hosts(node, run.launcher) and run.launcher not in looked_at and not is_complete(node.folder):
            ssh.look(run.launcher, Path(run.runs_dir))
            looked_at.append(run.launcher)
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
    world_size = 1 if spec.parallel == "inline" else processes_of(node, run.launcher)
    start = time.monotonic()
    job = job_of(node, run, run_name)
    log = log_of(job)
    try:
        clear(job, ".*.part")
        path = job.save()
        with screen.progress(node.name, job.out, shared=spec.parallel == "ranks"):
            if spec.parallel == "inline":
                facts = _run_inline(job)
            else:
                facts = _run_processes(node, job, path, run, summed=spec.parallel == "shards")
        return complete(job, facts, seconds=time.monotonic() - start, world_size=world_size)
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


def _run_processes(node: Node, job: Job, path: Path, run: RunConfig, *, summed: bool) -> dict[str, Any]:
    log, world = log_of(job), processes_of(node, run.launcher)
    ended, lines = (_on_hosts if on_hosts(node, run.launcher) else _here)(job, path, run, world, summed=summed)
    facts = reports(job, world)
    stopped = sorted({str(report["stopped"]) for report in facts if "stopped" in report})
    if not ended and len(facts) == world and not stopped:
        return merge_facts(facts, summed=summed)
    reason = ended or "ended without reporting from every rank"
    if stopped:
        reason = f"was told to stop, saved at {', '.join(stopped)}"
    shown = "\n".join(f"  | {line}" for line in lines)
    raise StageFailed(f"{node.name} {reason}; the end of its log:\n{shown}\nfolder: {node.folder}\nlog: {log}")


def _here(job: Job, path: Path, run: RunConfig, world: int, *, summed: bool) -> tuple[str, list[str]]:
    """Run a stage's processes on this machine; returns how they failed, empty where they did not, and what of the log says why."""
    env, log = environment(run.launcher.threads), log_of(job)
    if summed:
        code = run_together(shard_commands(path, world), rank_environments(env, world), log)
    else:
        code = run_together([collective_command(run.launcher.kind, path, world)], [env], log)
    return (f"ended with code {code}" if code else ""), last_lines(log)


def _on_hosts(job: Job, path: Path, run: RunConfig, world: int, *, summed: bool) -> tuple[str, list[str]]:
    """The same on the machines of the hostfile; of the log, what the machines wrote that failed."""
    log = log_of(job)
    codes = ssh.run_stage(run.launcher, path, log, collective=not summed)
    if not codes:
        return "", last_lines(log)
    lines = [line for host in codes for line in last_lines(log, start=ssh.prefix(host))]
    return ssh.failure(run.launcher, codes), lines


def on_hosts(node: Node, launcher: LauncherConfig) -> bool:
    """Whether the machines of a hostfile run a stage: those that hold a model, and not the mere linking of a pretrained base."""
    return launcher.kind == "ssh" and STAGES[node.stage].parallel != "inline" and not linked(node)


def processes_of(node: Node, launcher: LauncherConfig) -> int:
    """Processes of a stage that is not inline, on all machines."""
    if launcher.kind == "ssh":
        return launcher.nodes * launcher.ranks if on_hosts(node, launcher) else 1
    return launcher.ranks


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


def _line(where: str, what: str, node: Node, manifest: Mapping[str, Any]) -> str:
    read = ", ".join(dict.fromkeys(parent.name for parent in node.inputs.values())) or "nothing"
    facts = {key: value for key, value in manifest["facts"].items() if key != "peak_memory_gb"}
    wrote = f"{len(manifest['files'])} files" + (f": {brief(facts)}" if brief(facts) else "")
    took = f"{manifest['seconds']:.1f} s" if what == "ran" else f"({manifest['seconds']:.1f} s then)"
    return f"{where} {what:<6} {node.name:<22} {node.fingerprint}  {took:>14}  read {read}; wrote {wrote}"
