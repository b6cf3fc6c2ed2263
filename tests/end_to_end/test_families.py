"""The whole recipe, sample -> SFT -> reference -> DPO -> predict, on a tiny checkpoint of every family: two ranks, ZeRO 0 and ZeRO 3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import NAMES

from inbol.models.load import load_model, load_processor
from launch.compose import ROOT
from launch.processes import free_port

SECONDS = 600
"""For all families under one ZeRO stage; about 120 on an idle machine."""
ZERO = ("zero0", "zero3")


def launch(zero: str, runs: Path) -> None:
    script = Path(__file__).with_name("family_script.py")
    command = [str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", "2", "--no_local_rank", "--master_port", str(free_port())]
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    with (runs / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, str(script), str(runs), zero, *NAMES], env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = process.wait(SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, (runs / "log").read_text()[-6000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ZeRO stage -> a runs folder for each family."""
    folders = {zero: tmp_path_factory.mktemp(zero) for zero in ZERO}
    for zero, folder in folders.items():
        launch(zero, folder)
    return folders


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((only(folder) / "manifest.json").read_text())


@pytest.mark.heavy
@pytest.mark.timeout(2 * SECONDS + 60)
@pytest.mark.parametrize("zero", ZERO)
@pytest.mark.parametrize("name", NAMES)
def test_every_stage_runs_on_every_family(name: str, zero: str, runs: dict[str, Path]) -> None:
    folder = runs[zero] / name
    for stage in ("base", "sft", "dpo"):
        facts = manifest(folder / stage)["facts"]
        assert (facts["world_size"], facts["zero_stage"]) == (2, int(zero[-1]))
        assert facts["last"]["loss"] > 0
        checkpoint = only(folder / stage) / "checkpoint"
        assert load_model(checkpoint).config.model_type == name
        assert load_processor(checkpoint).chat_template
    assert manifest(folder / "reference")["facts"]["pairs"] > 0
    if zero == "zero0":
        assert "CA-DPO" in (only(folder / "report") / "table.md").read_text()


@pytest.mark.heavy
@pytest.mark.timeout(2 * SECONDS + 60)
@pytest.mark.parametrize("name", NAMES)
def test_the_zero_stage_does_not_change_the_base(name: str, runs: dict[str, Path]) -> None:
    """Same seed, same data, same steps: the base's weights agree to 1e-4 of their norm."""
    one, other = (load_model(only(runs[zero] / name / "base") / "checkpoint").state_dict() for zero in ZERO)
    assert one.keys() == other.keys()
    difference = torch.cat([(one[key] - other[key]).flatten() for key in one])
    whole = torch.cat([value.flatten() for value in other.values()])
    assert float(difference.norm() / whole.norm()) < 1e-4
