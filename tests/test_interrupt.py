"""Being told to stop: the process goes on until it looks, and what it has started does not die of the signal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from inbol import interrupt
from launch.compose import ROOT

SCRIPT = """
import os, signal, subprocess, time
from inbol import interrupt
interrupt.listen()
child = subprocess.Popen(["sleep", "30"])
print(interrupt.listening(), interrupt.asked(), flush=True)
os.killpg(os.getpgid(0), signal.SIG{name})
time.sleep(0.3)
print(interrupt.asked(), child.poll(), flush=True)
child.kill()
try:
    interrupt.stop_here("2 of 5 shards")
except interrupt.Interrupted as stopped:
    print(stopped)
"""


def run(name: str, listen: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), interrupt.LISTEN: listen}
    command = [sys.executable, "-c", SCRIPT.replace("{name}", name)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, start_new_session=True, check=False)


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_a_signal_is_a_request(name: str) -> None:
    done = run(name, "1")
    assert done.stdout.splitlines() == ["True False", "True None", "2 of 5 shards"], done.stderr


def test_without_a_launcher_that_starts_again_a_signal_ends_the_process() -> None:
    done = run("TERM", "")
    assert done.returncode == -15 and done.stdout.splitlines() == ["False False"]


def test_what_is_open_is_closed_last_first_whatever_fails() -> None:
    closed: list[str] = []

    def fail() -> None:
        raise OSError("the disk is gone")

    for close in (lambda: closed.append("first"), fail, lambda: closed.append("last")):
        interrupt.before_end(close)
    interrupt.close_all()
    assert closed == ["last", "first"]
    interrupt.stop_here("nobody asked")
