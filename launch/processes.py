"""Starting the processes of a stage, and making sure that none outlives its launcher."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from launch.compose import ROOT

MODULE = "inbol.stages"
"""What every process runs: `python -m MODULE <job.json>`."""
GRACE = 5.0
"""Seconds between asking a process group to end and killing it."""


def shard_commands(job: Path, world: int, ranks: Iterable[int] | None = None) -> list[list[str]]:
    """One independent process per rank: for all `world` of them, or for those of one machine."""
    chosen = range(world) if ranks is None else ranks
    return [[sys.executable, "-m", MODULE, str(job), "--rank", str(rank), "--world", str(world)] for rank in chosen]


def collective_command(kind: str, job: Path, ranks: int) -> list[str]:
    """One collective job of `ranks` processes on this machine; rank and world size reach them through the environment.

    Of DeepSpeed's launchers the one of a node is started: the `deepspeed` command would find out which nodes and devices there are and then
    start this same one; that is known here, and its three seconds of imports are saved.

    Args:
        kind: `local` (DeepSpeed's launcher) or `torchrun`.
        job: the stage's `job.json`.
        ranks: number of processes.

    Raises:
        ValueError: there are accelerators, but fewer than ranks.
    """
    devices = accelerators() or [str(rank) for rank in range(ranks)]
    if len(devices) < ranks:
        raise ValueError(f"launcher.ranks={ranks}, but {len(devices)} accelerators are visible; set launcher.ranks={len(devices)}")
    if kind == "torchrun":
        where = [f"--nproc-per-node={ranks}", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
        return [sys.executable, "-m", "torch.distributed.run", *where, "--module", MODULE, str(job)]
    return deepspeed_command(job, {"localhost": devices[:ranks]}, node=0, address="127.0.0.1", port=free_port())


def deepspeed_command(job: Path, devices: Mapping[str, Sequence[str]], *, node: int, address: str, port: int | str) -> list[str]:
    """DeepSpeed's launcher of one machine.

    Args:
        job: the stage's `job.json`.
        devices: machines in order, and the device of every process there.
        node: which of them this is for.
        address: where the first machine is met.
        port: a free one there.
    """
    world = base64.urlsafe_b64encode(json.dumps({name: list(ids) for name, ids in devices.items()}).encode()).decode()
    options = [f"--world_info={world}", f"--node_rank={node}", f"--master_addr={address}", f"--master_port={port}", "--no_local_rank"]
    return [sys.executable, "-m", "deepspeed.launcher.launch", *options, "--module", MODULE, str(job)]


def environment(threads: int) -> dict[str, str]:
    """The launcher's own environment and what processes on this machine need; values the user has set win where they can be meant."""
    return {**stage_environment(threads), "INBOL_END_WITH_STDIN": "1"}


def stage_environment(threads: int) -> dict[str, str]:
    """The same without the watch on standard input, for processes that another keeper ends."""
    env = dict(os.environ)
    source = str(ROOT / "src")
    env["PYTHONPATH"] = os.pathsep.join([source, env["PYTHONPATH"]]) if env.get("PYTHONPATH") else source
    env["OMP_NUM_THREADS"] = str(threads)
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not accelerators():
        env.setdefault("DS_ACCELERATOR", "cpu")
    return env


def accelerators() -> list[str]:
    """Ids of the visible NVIDIA devices, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = sorted(int(path.name.removeprefix("nvidia")) for path in Path("/dev").glob("nvidia[0-9]*"))
    if visible is None or not present:
        return [str(number) for number in present]
    return [name for name in visible.split(",") if name]


def rank_environments(env: Mapping[str, str], ranks: int) -> list[dict[str, str]]:
    """One environment per independent process; accelerators are dealt out in turn."""
    devices = accelerators()
    return [{**env, **({"CUDA_VISIBLE_DEVICES": devices[rank % len(devices)]} if devices else {})} for rank in range(ranks)]


def run_together(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]], log: Path) -> int:
    """Run commands side by side, all output into `log`; returns as `run_into`."""
    with log.open("ab") as out:
        return run_into(commands, environments, out)


def run_into(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]], out: IO[bytes]) -> int:
    """Run commands side by side; returns 0, or the first code that is not, the others being stopped then.

    Each command leads a session of its own, so that it can be ended with everything it started. Its standard input is a pipe whose other
    end dies with this process, which is how ranks notice a launcher that was killed outright.
    """
    children: list[subprocess.Popen[bytes]] = []
    try:
        for command, env in zip(commands, environments, strict=True):
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=dict(env), start_new_session=True
            )
            children.append(child)
        while True:
            codes = [child.poll() for child in children]
            if any(codes):
                return next(code for code in codes if code)
            if all(code == 0 for code in codes):
                return 0
            time.sleep(0.05)
    finally:
        stop(children)
        for child in children:
            if child.stdin is not None:
                child.stdin.close()


def stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the process groups of `children`: TERM, then KILL for what is left after `GRACE` seconds; a further Ctrl-C is ignored."""
    if not children:
        return
    with undisturbed():
        for child in children:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while any(_alive(child) for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        for child in children:
            _signal(child, signal.SIGKILL)
            child.wait()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignores Ctrl-C meanwhile."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _alive(child: subprocess.Popen[bytes]) -> bool:
    """Whether anything is left of the child's group, the child itself being reaped."""
    child.poll()
    try:
        os.killpg(child.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port of this machine that nobody listens on at the moment; at every address for an empty one."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
