"""Benchmarks behind a recipe, through the real launcher at the smallest scale: tables at the end, and what is missing named at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.compose import ROOT

LIMIT = 600


def train(runs: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch", "train", "--recipe", "refusal-prompt", "--scale", "smoke", "--"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, f"runs_dir={runs}", *overrides], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env=env, check=False
    )


@pytest.mark.long
@pytest.mark.timeout(LIMIT + 60)
def test_a_recipe_with_benchmarks_ends_in_their_tables(tmp_path: Path) -> None:
    done = train(tmp_path, "benchmarks=[mohobench,pope]")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (report,) = (tmp_path / "report").glob("*")
    table = (report / "table.md").read_text()
    assert "Benchmark mohobench, tiny instance" in table and "refusal rate/False_Premises (n 16)" in table
    assert "Benchmark pope, tiny instance" in table and "| yes share (n 96)" in table
    assert "Benchmark pope: differences from base" in (report / "details.md").read_text()
    assert 'id="benchmark-mohobench"' in (report / "report.html").read_text()
    missing = train(tmp_path, "benchmarks=[pope]", f"benchmark.pope.path={tmp_path / 'absent'}")
    assert missing.returncode == 1 and "] ran" not in missing.stdout  # before anything else
    assert "download output/coco/coco_pope_" in " ".join(missing.stderr.split())
