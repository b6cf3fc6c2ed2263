"""What runs on a machine that is reached by ssh: `python -m launch.agent`, with its orders as the first line of standard input.

Either it says what the machine has for a run (`{"look": ...}`), or it keeps the processes of a stage there, and ends them as soon as the
launcher hangs up or falls silent: standard input is the connection's, and closes whatever kills the launcher, ssh or sshd. The orders come
that way and not on the command line because they hold environment variables, which everybody may read there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import select
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

from launch.compose import ROOT
from launch.processes import GRACE, accelerators, environment, free_port, rank_environments, run_into

MARK = "inbol-agent "
"""Before the line with the facts; what a shell's start-up files print is no part of them."""
BEAT = 5.0
"""Seconds between signs of life of the launcher."""
SILENCE = 60.0
"""Seconds without one after which the launcher counts as lost: a machine without power closes no connection."""
PACKAGES = ("torch", "deepspeed", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What one machine is to run for a stage."""

    commands: list[list[str]]
    """Side by side."""
    environment: dict[str, str]
    """Beside the machine's own."""
    threads: int
    """CPU threads per process."""
    deal: bool
    """Whether every command gets one accelerator; DeepSpeed's launcher deals them out itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a machine has for a run."""

    address: str
    """Where ssh met it; empty where nobody came by ssh."""
    port: int
    """A free one."""
    accelerators: int
    token: str
    """What stands in the file that was named, or why it cannot be read."""
    sources: str
    """Hash of the repository's code."""
    versions: dict[str, str]
    """Of Python and the packages that all processes have to agree on."""


def facts(token: Path) -> Facts:
    """Those of this machine. `token`: a file that the launcher has written."""
    try:
        text = token.read_text(encoding="utf-8")
    except OSError as error:
        text = str(error.strerror)
    met = os.environ.get("SSH_CONNECTION", "").split()
    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    return Facts(
        address=met[2] if len(met) == 4 else "",
        port=free_port(""),
        accelerators=len(accelerators()),
        token=text,
        sources=sources(ROOT),
        versions=versions,
    )


def sources(root: Path) -> str:
    """One hash of all code that processes run, names and contents; equal where the revision and every change to it are."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("src", "launch") for path in (root / part).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def keep(orders: Orders) -> int:
    """Run the commands to their end, or to that of the launcher; returns 0, or the first code that is not."""
    os.environ.update(orders.environment)
    env = environment(orders.threads)
    each = rank_environments(env, len(orders.commands)) if orders.deal else [env] * len(orders.commands)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _end)
    threading.Thread(target=_watch, name="end-with-launcher", daemon=True).start()
    code = run_into(orders.commands, each, sys.stdout.buffer)
    return code if code >= 0 else 128 - code


def _watch() -> None:
    """Ends this process as a signal does, so that it stops what it has started; if that takes too long, at once."""
    while select.select([0], [], [], SILENCE)[0] and os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE + 2)
    os._exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> int:
    """Read the orders and follow them."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return 1  # the launcher is gone already
    orders: dict[str, Any] = json.loads(line)
    if "look" in orders:
        sys.stdout.write(f"\n{MARK}{json.dumps(asdict(facts(Path(orders['look']))))}\n")
        return 0
    try:
        return keep(Orders(**orders))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
