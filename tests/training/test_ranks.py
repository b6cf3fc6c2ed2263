"""Real ranks under the `deepspeed` launcher, ZeRO 2 on gloo: 2 ranks x 2 accumulation steps = 1 rank x 4, and a crash leaves no trace.

Both launches run side by side, once for all tests of this module.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from streams import stream_of
from toy_runs import GLOBAL_BATCH, OBJECTIVES, SEED, STEPS, distance, mixed_objective, start_model, torch_run, weights

from inbol.models.load import load_model, load_processor
from inbol.shards.order import Layout

ROOT = Path(__file__).parents[2]
SECONDS = 200
pytestmark = pytest.mark.heavy
"""For both launches; about 30 on an idle machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(ranks: int, out: Path) -> subprocess.Popen[str]:
    command = [
        str(Path(sys.executable).parent / "deepspeed"), "--num_gpus", str(ranks), "--no_local_rank", "--master_port", str(free_port()),
        str(Path(__file__).with_name("rank_script.py")), str(out),
    ]  # fmt: skip
    environment = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "fakes")]),
    }
    return subprocess.Popen(
        command, env=environment, cwd=out, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """World size -> folder of what `rank_script` wrote."""
    folders = {ranks: tmp_path_factory.mktemp(f"ranks-{ranks}") for ranks in (1, 2)}
    running = {ranks: launch(ranks, folder) for ranks, folder in folders.items()}
    deadline = time.monotonic() + SECONDS
    try:
        for ranks, process in running.items():
            text, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            assert process.returncode == 0, f"{ranks} ranks:\n{text[-6000:]}"
    finally:
        for process in running.values():
            if process.poll() is None:  # the launcher's children are in its session: none outlives the test
                os.killpg(process.pid, signal.SIGKILL)
    return folders


def trained(folder: Path) -> torch.Tensor:
    return weights(load_model(folder / "checkpoint"))


def log(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in json.loads((folder / "log_history.json").read_text()) if "loss" in entry]


def facts(folder: Path, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"facts-{rank}.json").read_text())


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_two_ranks_equal_one(kind: str, out: dict[int, Path]) -> None:
    """Weights after four steps to 1e-6 of their norm, losses and gradient norms of every step, and both near plain torch."""
    one, two = trained(out[1] / kind), trained(out[2] / kind)
    assert distance(one, weights(start_model())) > 3e-3, "the steps move the weights"
    assert distance(two, one) < 1e-6
    expected, expected_log = torch_run(kind, torch.float64)
    assert distance(one, weights(expected)) < 1e-5
    lines, wanted = log(out[1] / kind), log(out[2] / kind)
    assert len(lines) == len(wanted) == len(expected_log) == STEPS
    for line, other, plain in zip(lines, wanted, expected_log, strict=True):
        for name in ("loss", "grad_norm"):
            assert line[name] == pytest.approx(other[name], rel=1e-5)
            assert line[name] == pytest.approx(plain[name], rel=1e-4)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_metrics_are_those_of_all_ranks(kind: str, out: dict[int, Path]) -> None:
    lines, wanted = log(out[2] / kind), log(out[1] / kind)
    names = {"sft": {"nll_per_token", "nll_per_example"}, "dpo": {"rewards/margins", "rewards/accuracies", "logps/chosen"}}[kind]
    assert len(lines) == STEPS
    for line, other in zip(lines, wanted, strict=True):
        assert names < line.keys()
        assert {name: line[name] for name in names} == pytest.approx({name: other[name] for name in names}, rel=1e-4, abs=1e-4)


def test_ranks_with_and_without_pictures_wait_for_no_one(out: dict[int, Path]) -> None:
    """ZeRO 3 gathers the tower's weights when it runs: a rank without a picture shows a blank one, or both would hang. A blank picture has
    no part in any number: two ranks, whose blanks fall elsewhere, train as one."""
    one, two = trained(out[1] / "mixed"), trained(out[2] / "mixed")
    assert distance(one, weights(start_model())) > 3e-3
    assert distance(two, one) < 1e-5
    assert distance(one, trained(out[1] / "sft")) > 1e-4, "the pictures matter"
    assert facts(out[2] / "mixed", 0)["zero_stage"] == 3
    stream = stream_of(mixed_objective(), Layout(GLOBAL_BATCH, 2, 1), rank=0, seed=SEED)
    shown = {index for index, color in enumerate(toy.COLORS) if color in list(toy.COLORS)[::2]}
    other = stream_of(mixed_objective(), Layout(GLOBAL_BATCH, 2, 1), rank=1, seed=SEED)
    assert any((stream[n].keys[0] in shown) != (other[n].keys[0] in shown) for n in range(2 * STEPS))


def test_the_facts_say_who_read_what(out: dict[int, Path]) -> None:
    """Four steps of four trees: 16 by one rank, 8 by each of two."""
    told = [facts(out[1] / "dpo", 0), facts(out[2] / "dpo", 0), facts(out[2] / "dpo", 1)]
    assert [(one["world_size"], one["accumulation"], one["trees_read_by_this_rank"]) for one in told] == [(1, 4, 16), (2, 2, 8), (2, 2, 8)]
    assert {(one["zero_stage"], one["precision"], one["steps"], one["trees"]) for one in told} == {(2, "fp32", STEPS, 6)}


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_crash_leaves_no_trace_in_the_weights(ranks: int, out: dict[int, Path]) -> None:
    """Dropout included, bit for bit; the half-written checkpoint of step 3 was not used, and the log has every step once."""
    whole, crashed = out[ranks] / "whole", out[ranks] / "crashed"
    assert torch.equal(trained(crashed), trained(whole))
    assert not torch.equal(trained(whole), trained(out[ranks] / "sft")), "dropout is at work"
    assert [line["step"] for line in log(crashed)] == [1, 2, 3, 4]
    assert [line["loss"] for line in log(crashed)] == [line["loss"] for line in log(whole)]
    assert sorted(path.name for path in crashed.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]


def test_the_export_is_an_ordinary_folder(out: dict[int, Path]) -> None:
    """Whole, without pickles, with its processor; the frozen tower is the one the run started from."""
    folder = out[2] / "dpo" / "checkpoint"
    assert load_processor(folder).chat_template
    assert not list(folder.glob("*.bin"))
    assert not (out[2] / "dpo" / "checkpoint.part").exists()
    start, tower = start_model().state_dict(), {n: v for n, v in load_model(folder).state_dict().items() if "vision_tower" in n}
    assert len(tower) > 10
    assert all(torch.equal(value, start[name]) for name, value in tower.items())
