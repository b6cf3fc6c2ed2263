"""Sweeps at the smallest scale, through the real launcher: a grid of six points of which one fails, and a search that is killed once.

Run with `make test ARGS="-m heavy"`; it takes some minutes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from inbol.config.sweeping import SweepConfig
from launch.compose import ROOT
from launch.points import POINTS, PlannedPoint
from launch.sweep import load_sweep, plan_sweep

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
GRID = ["dpo.beta=0.1,0.2,0.4", "dpo=soft,hard"]
SHARED = ("ingest", "unsolvable", "base", "sample", "confidence", "boundary", "sft_data", "sft", "pairs", "reference")


def sweep(runs: Path, *words: str) -> subprocess.Popen[str]:
    """The command of `make sweep RECIPE=inbol-dpo SCALE=smoke`."""
    options = [word for word in words if word.startswith("--")]
    overrides = [f"runs_dir={runs}", *(word for word in words if not word.startswith("--"))]
    command = [sys.executable, "-m", "launch", "sweep", "--recipe", "inbol-dpo", "--scale", "smoke", *options, "--", *overrides]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def manifests(runs: Path) -> dict[str, list[dict[str, Any]]]:
    """Of all complete stages, by stage."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in runs.glob("*/*/manifest.json"):
        found.setdefault(path.parent.parent.name, []).append(json.loads(path.read_text()))
    return found


def working_for(runs: Path) -> list[psutil.Process]:
    """Processes that name the runs folder."""
    return [one for one in psutil.process_iter(["cmdline"]) if str(runs) in " ".join(one.info["cmdline"] or [])]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PlannedPoint], str, int]:
    """(runs folder, points, output, exit code) of the grid; a file where the fourth point's trainer wants a folder makes it fail."""
    runs = tmp_path_factory.mktemp("runs")
    config, plain = load_sweep("", [*GRID, f"runs_dir={runs}"])
    assert isinstance(config, SweepConfig)
    points = plan_sweep(config, "inbol-dpo", "smoke", plain)
    (dpo,) = (node for node in points[3].nodes if node.name == "dpo")
    dpo.folder.mkdir(parents=True)
    (dpo.folder / "trainer").write_text("in the way")
    run = sweep(runs, *GRID)
    out = run.communicate(timeout=1400)[0]
    return runs, points, out, run.returncode


def test_six_points_run_what_they_share_once(grid: tuple[Path, list[PlannedPoint], str, int]) -> None:
    """By the manifests: one `base` to `reference`, five `dpo` that all read these; by the log, none of them ran a second time."""
    runs, points, out, _ = grid
    found = manifests(runs)
    assert {stage: len(found[stage]) for stage in SHARED} == dict.fromkeys(SHARED, 1), out[-3000:]
    assert len(found["dpo"]) == 5
    parents = {role: found[stage][0]["fingerprint"] for role, stage in (("vqa", "ingest"), ("pairs", "pairs"), ("reference", "reference"))}
    assert all(one["parents"].items() >= {**parents, "model": found["sft"][0]["fingerprint"]}.items() for one in found["dpo"])
    ran = Counter(re.findall(r"\] ran +(\S+)", out))
    assert {name: ran[name] for name in SHARED} == dict.fromkeys(SHARED, 1)
    assert ran["dpo"] == ran["score[dpo]"] == 5 and len(points) == 6


def test_one_failing_point_is_named_and_so_is_the_best(grid: tuple[Path, list[PlannedPoint], str, int]) -> None:
    runs, points, out, code = grid
    assert code == 1
    (folder,) = runs.glob("sweep-*")
    text = (folder / "report" / "table.md").read_text()
    (missing,) = re.findall(r"missing: (.*)", text)
    assert missing.startswith("dpo.beta=0.2 dpo=hard: dpo ended with code 1: ")
    values = [json.loads((point.score.folder / "scores.json").read_text())["slices"]["trust"]["T1 50/50"]["value"]
              for number, point in enumerate(points) if number != 3]  # fmt: skip
    first = [point for number, point in enumerate(points) if number != 3][values.index(max(values))]
    assert f"best by trust/T1 50/50: **{' '.join(first.texts)}**" in text
    assert (folder / "report" / "plot.png").stat().st_size > 5000 and "best by" in out


def test_a_search_that_was_killed_goes_on(grid: tuple[Path, list[PlannedPoint], str, int]) -> None:
    """SIGKILL in the second of three trials' DPO; the same command takes it up again, and each trial is there once."""
    pytest.importorskip("optuna", reason="optuna is not installed")
    runs = grid[0]
    words = ("--sweep=optuna-ca-dpo", "sweep.trials=3")
    before = len(manifests(runs)["dpo"])
    killed = sweep(runs, *words)
    deadline = time.monotonic() + 600
    while not (len(manifests(runs)["dpo"]) == before + 1 and list(runs.glob("dpo/*/progress-0.json"))):
        assert killed.poll() is None and time.monotonic() < deadline, killed.communicate()[0][-3000:]
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    deadline = time.monotonic() + 30
    while working_for(runs) and time.monotonic() < deadline:
        time.sleep(0.2)
    (folder,) = runs.glob("study-*")
    then = json.loads((folder / POINTS).read_text())["points"]
    assert [one["reason"] for one in then] == ["", "still running"]
    again = sweep(runs, *words)
    out = again.communicate(timeout=600)[0]
    assert again.returncode == 0, out[-3000:]
    now = json.loads((folder / POINTS).read_text())["points"]
    assert [one["point"] for one in now][:2] == [one["point"] for one in then]
    assert [one["point"]["trial"] for one in now] == ["0", "1", "2"] and not any(one["reason"] for one in now)
    assert "1 of 3 trials told" in out and len(re.findall(r"trial 1: .* \(taken up again\)", out)) == 1 and "trial 0:" not in out
    assert len(manifests(runs)["dpo"]) == before + 3 and len(manifests(runs)["base"]) == 1
    assert re.search(r"\*\*trial=\d dpo\.beta=", (folder / "report" / "table.md").read_text())
    last = sweep(runs, *words)
    assert "3 of 3 trials told" in last.communicate(timeout=120)[0] and last.returncode == 0
    assert len(manifests(runs)["dpo"]) == before + 3
