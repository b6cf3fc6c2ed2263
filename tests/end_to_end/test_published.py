"""`make train RECIPE=inbol-sft ARGS="source=vqav2"` on a few pictures in VQAv2's own files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import published
import pytest

from launch.compose import ROOT

COLORS = ("red", "green", "blue")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_recipe_runs_on_vqav2(tmp_path: Path) -> None:
    """24 training and 8 test images: pretrain 12, align-train 8, align-val 4; the test split comes from val2014."""
    for part, numbers in (("train2014", range(1, 25)), ("val2014", range(31, 39))):
        asked = {n: [(f"What color is thing {n}?", "other", [COLORS[n % 3]] * 10)] for n in numbers}
        published.vqav2(tmp_path / "data", part, asked, size=32)
    sizes = {"pretrain": 12, "align_train": 8, "align_val": 4, "test": 8}
    overrides = [f"source.{name}_images={size}" for name, size in sizes.items()]
    overrides += ["source=vqav2", f"source.path={tmp_path / 'data'}", f"runs_dir={tmp_path / 'runs'}", "unsolvable.others_per_image=0"]
    command = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-sft", "--scale", "smoke", "--", *overrides]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, env=env, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (manifest,) = (tmp_path / "runs" / "ingest").glob("*/manifest.json")
    facts = json.loads(manifest.read_text())["facts"]
    assert facts["source"] == "vqav2"
    assert facts["images"] == {"pretrain": 12, "align-train": 8, "align-val": 4, "test": 8}
    assert facts["questions_read"] == 32 and facts["questions_left_out"] == {}
    (table,) = (tmp_path / "runs").glob("inbol-sft-smoke-*/report/table.md")
    assert "CA-SFT" in table.read_text()
