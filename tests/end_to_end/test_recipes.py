"""Every recipe to its report at the smallest scale, through the real launcher, in one runs folder: base and samples are made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.compose import RECIPES, ROOT, compose_run, names
from launch.rows import labels

LIMIT = 300
pytestmark = [pytest.mark.long, pytest.mark.timeout(LIMIT + 60)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("recipe", names(RECIPES))
def test_a_recipe_ends_in_its_table(recipe: str, runs: Path) -> None:
    command = [sys.executable, "-m", "launch", "train", "--recipe", recipe, "--scale", "smoke", "--", f"runs_dir={runs}"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, env=env, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (run,) = runs.glob(f"{recipe}-smoke-*")
    table = (run / "report" / "table.md").read_text()
    assert all(label in table for label in labels(compose_run(recipe, "smoke")).values())


def test_base_and_sampling_ran_once(runs: Path) -> None:
    """One base; samples of it for alignment and for the test split, and those of the iterative recipe's first round."""
    assert len(list((runs / "base").glob("*/manifest.json"))) == 1
    models = [json.loads(path.read_text())["parents"]["model"] for path in (runs / "sample").glob("*/manifest.json")]
    assert len(models) == 3 and len(set(models)) == 2
