"""`make train RECIPE=inbol-dpo` at the smallest scale, through the real launcher: a table at the end, and nothing made twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.compose import ROOT

LIMIT = 600
"""Seconds of a run: a minute and a half on two idle cores."""
pytestmark = pytest.mark.timeout(LIMIT + 60)


def train(runs: Path, *overrides: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """One run of the command that `make train` starts, and its seconds."""
    start = time.monotonic()
    command = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-dpo", "--scale", "smoke", "--", f"runs_dir={runs}", *overrides]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env=env, check=False)
    return done, time.monotonic() - start


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder in which the recipe has run once."""
    folder = tmp_path_factory.mktemp("runs")
    done, _ = train(folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.timeout(LIMIT + 60)
def test_the_first_run_ends_in_a_report(runs: Path) -> None:
    (run,) = runs.glob("inbol-dpo-smoke-*")
    table = (run / "report" / "table.md").read_text()
    assert all(label in table for label in ("base", "base + threshold", "CA-SFT", "CA-DPO"))
    for name in ("table.csv", "table.tex", "report.html"):
        assert (run / "report" / name).stat().st_size > 0
    assert (run / "resolved.yaml").read_text().startswith("# recipe inbol-dpo, scale smoke")
    assert "flash-attn" in (run / "train.log").read_text()


def test_training_went_through_deepspeed_with_two_ranks(runs: Path) -> None:
    manifests = [json.loads(path.read_text()) for stage in ("base", "sft", "dpo") for path in (runs / stage).glob("*/manifest.json")]
    assert len(manifests) == 3
    for manifest in manifests:
        assert manifest["world_size"] == 2
        facts = json.dumps(manifest["facts"])
        assert '"zero_stage": 2' in facts and "_by_rank" in facts
        assert max(manifest["facts"]["peak_memory_gb"]) < 3
        assert manifest["facts"]["account"]["each_once_per_epoch"] is True


def test_an_unchanged_run_reuses_everything(runs: Path) -> None:
    done, seconds = train(runs)
    assert done.returncode == 0, done.stderr
    stages = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(stages) == 22
    assert all("] reused " in line for line in stages)
    assert seconds < 15


def test_another_beta_leaves_what_comes_before_dpo(runs: Path) -> None:
    command = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-dpo", "--scale", "smoke", "--dry", "--"]
    done = subprocess.run([*command, f"runs_dir={runs}", "dpo.beta=0.2"], cwd=ROOT, capture_output=True, text=True, check=True)
    missing = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("to run")]
    assert missing == ["dpo", "predict[dpo]", "score[dpo]", "report"]
