"""SIGKILL of the whole run at many moments: repeating the command ends in the very table of a run that nobody disturbed.

Run with `make test ARGS="-m long"`; it takes some minutes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.compose import ROOT

COMMAND = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-dpo", "--scale", "smoke", "--"]
MOMENTS = 24


def start(runs: Path) -> subprocess.Popen[bytes]:
    """The command of `make train`, leading a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, f"runs_dir={runs}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def newest_table(runs: Path) -> str:
    """The table of the last run."""
    return max(runs.glob("report/*/table.md"), key=lambda path: path.stat().st_mtime).read_text()


def processes_of(runs: Path) -> list[int]:
    """Processes that still work for this runs folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(runs) in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kills_at_many_moments_leave_the_table_as_it_is(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    begun = time.monotonic()
    assert start(undisturbed).wait() == 0
    whole = time.monotonic() - begun
    rng, kills, stages = random.Random(0), 0, set()
    while True:
        run = start(killed)
        try:
            code = run.wait(timeout=rng.uniform(0.05, 0.2) * whole if kills < MOMENTS else None)
            assert code == 0
            break
        except subprocess.TimeoutExpired:
            stages |= {path.parent.parent.name for path in killed.glob("*/*/progress-*.json")}
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills += 1
            deadline = time.monotonic() + 20
            while processes_of(killed) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert not processes_of(killed), "orphans of a killed run"
    assert kills >= 8, "too few kills to mean anything"
    assert {"base", "sft", "dpo"} & stages, f"no kill fell into training, only into {sorted(stages)}"
    assert newest_table(killed) == newest_table(undisturbed)
