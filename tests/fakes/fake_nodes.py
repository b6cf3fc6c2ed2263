"""Nodes of `fake_stages`, and what of their processes lives."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from fake_stages import FakeStage

from launch.plan import Node


def node(root: Path, kind: str, mark: str, action: str = "write", **inputs: Node) -> Node:
    folder = root / f"fake_{kind}" / mark
    return Node(
        name=f"{kind}[{mark}]", stage=f"fake_{kind}", config=FakeStage(action=action), inputs=inputs, fingerprint=mark, folder=folder
    )


def pids(root: Path) -> list[dict[str, int]]:
    """What the hanging ranks wrote about themselves."""
    found = []
    for path in root.rglob("pid-*"):
        try:
            found.append(json.loads(path.read_text()))
        except ValueError:
            continue
    return found


def alive(root: Path) -> list[psutil.Process]:
    """Living processes of the sessions the ranks belong to."""
    sessions = {one["session"] for one in pids(root)}
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and os.getsid(process.pid) in sessions:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
