"""Real ranks that are killed, spoilt, damaged and changed in number: the weights are those of a run that nobody disturbed, and the account
of what was trained on is exact.

`forked.py` runs all orders of a fixture in one process tree; about half a minute for the heavy ones, three minutes for the long.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
STEPS, TREES, GLOBAL_BATCH = 10, 6, 4
ACCOUNT = {"samples_per_epoch": 6, "epochs": 5.0, "samples": 30, "repeats": 10, "each_once_per_epoch": True}
"""Ten steps of four trees, two to an epoch of six."""


def run(folder: Path, orders: dict[str, dict[str, Any]], limit: float) -> dict[str, Any]:
    """What `forked.py` reports, by name; folders of the orders are below `folder`."""
    placed = {
        name: {key: str(folder / value) if key in ("folder", "damage") else value for key, value in order.items()}
        for name, order in orders.items()
    }
    path = folder / "orders.json"
    path.write_text(json.dumps(placed))
    environment = {
        **os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests" / "fakes")]),
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "forked.py"), str(path)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        text, _ = process.communicate(timeout=limit)
        assert process.returncode == 0, text[-6000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return json.loads(path.with_suffix(".done.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint" / "model.safetensors")


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "facts-0.json").read_text())


def log(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in json.loads((folder / "log.json").read_text()) if "loss" in entry]


def assert_done(result: dict[str, Any]) -> None:
    assert set(result["codes"]) == {0}, "\n".join(result["said"])


def assert_same(folder: Path, whole: Path) -> None:
    """Every weight, every logged loss, and the account."""
    ours, expected = weights(folder), weights(whole)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in ours.items())
    assert [(line["step"], line["loss"]) for line in log(folder)] == [(line["step"], line["loss"]) for line in log(whole)]
    assert len(log(folder)) == STEPS
    assert facts(folder)["account"] == ACCOUNT


def assert_undisturbed(result: dict[str, Any], folder: Path, whole: Path, kills: int) -> None:
    """So many kills came, nothing but kills ended a leg, and every run that they disturbed is the undisturbed one."""
    assert result["kills"] == kills
    for leg in result["legs"]:
        assert leg["killed"] or set(leg["codes"]) == {0}, "\n".join(leg["said"])
        assert not leg["hung"]
    for number in range(1, result["runs"] + 1):
        assert_same(folder / f"run-{number}", whole)


SPOILT = {"nan_loss": 2, "infinite_loss": 3, "nan_gradient": 2}
"""What is not finite, and the ZeRO stage it is tried with."""
DEFAULT: dict[str, dict[str, Any]] = {
    "whole": {"folder": "whole"},
    "killed": {"folder": "killed", "kills": 3, "kind": "sft", "seed": 1},
    **{kind: {"folder": kind, "kind": kind, "zero": zero} for kind, zero in SPOILT.items()},
    "mended": {"folder": "nan_gradient"},
    "stopped": {"folder": "damaged", "dies_at": 7},
    "told": {"folder": "told", "tell": (1, 5)},
    "goes on": {"folder": "told"},
    "damage": {"damage": "damaged/trainer"},
    "changed": {"folder": "damaged", "changes": {"seed": 4, "lr": 1e-3}},
    "damaged": {"folder": "damaged"},
    "size 1": {"folder": "size-1", "size": 1, "steps": 3},
    "mixed": {"folder": "mixed", "kind": "mixed", "changes": {"mix": {"a": 2, "b": 0.75}, "shuffle_block": 1, "shuffle_window": 2}},
    "tolerated": {"folder": "tolerated", "kind": "unreadable", "steps": 4, "changes": {"max_bad_share": 0.17}},
    "too many": {"folder": "too-many", "kind": "unreadable", "changes": {"max_bad_share": 0.16}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def done(base: Path) -> dict[str, Any]:
    return run(base, DEFAULT, 220)


@pytest.mark.heavy
def test_kills_leave_no_trace(done: dict[str, Any], base: Path) -> None:
    """One rank or both, in a step or while a checkpoint is written; with dropout, ends of epochs and repeats."""
    assert_done(done["whole"])
    assert facts(base / "whole")["account"] == ACCOUNT
    assert_undisturbed(done["killed"], base / "killed", base / "whole", 3)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_not_finite_on_one_rank_stops_both(kind: str, done: dict[str, Any], base: Path) -> None:
    """Step 3 has the image `blue` on rank 1. Both ranks say so, before a weight has moved, and the checkpoint of step 2 is left."""
    assert done[kind]["codes"] == [1, 1] and not done[kind]["hung"], "\n".join(done[kind]["said"])
    expected = {
        "nan_loss": "FloatingPointError: loss is nan at step 3, trees [blue] on rank 1; no step was taken",
        "infinite_loss": "FloatingPointError: loss is inf at step 3, trees [blue] on rank 1; no step was taken",
        "nan_gradient": "FloatingPointError: the gradient is not finite at step 3, though every loss is; trees of the step on rank 0: "
        "[green, red]; trees of the step on rank 1: [blue, black]; no step was taken",
    }[kind]
    assert all(expected in said for said in done[kind]["said"]), "\n".join(done[kind]["said"])
    for rank in (0, 1):
        unmoved = json.loads((base / kind / f"unmoved-{rank}.json").read_text())
        assert len(unmoved) > 20 and all(unmoved)
    assert done[kind]["checkpoints"] == ["checkpoint-2"]


@pytest.mark.heavy
def test_once_mended_it_goes_on(done: dict[str, Any], base: Path) -> None:
    """From the checkpoint that was left, to the weights of a run that was never spoilt."""
    assert_done(done["mended"])
    assert_same(base / "nan_gradient", base / "whole")


@pytest.mark.heavy
def test_all_ranks_stop_behind_the_step_in_which_one_was_told(done: dict[str, Any], base: Path) -> None:
    """Rank 1, in the first of the two micro-batches of step 3: both finish the step, save it though no save was due, and lose nothing."""
    assert done["told"]["codes"] == [75, 75], "\n".join(done["told"]["said"])
    assert all("stopped at step 3 of 10" in said for said in done["told"]["said"])
    assert done["told"]["checkpoints"] == ["checkpoint-2", "checkpoint-3"]
    assert_done(done["goes on"])
    assert_same(base / "told", base / "whole")


@pytest.mark.long
@pytest.mark.timeout(960)
def test_bf16_is_no_exception(many: tuple[dict[str, Any], Path]) -> None:
    """DeepSpeed does not look for overflows there; the optimiser's own step does."""
    done, base = many
    assert all("the gradient is not finite at step 3" in said for said in done["bf16"]["said"]), "\n".join(done["bf16"]["said"])
    assert all(json.loads((base / "bf16" / "unmoved-1.json").read_text()))


@pytest.mark.heavy
def test_a_damaged_checkpoint_is_passed_over_aloud(done: dict[str, Any], base: Path) -> None:
    """That of step 6 has lost a byte; training goes on from step 4, and ends as it should."""
    assert done["stopped"]["killed"]
    step, _, name = done["damage"].partition("/")
    assert step == "checkpoint-6"
    said = done["changed"]["said"][0] + done["damaged"]["said"][0]
    assert f"checkpoint 6 is not whole: {name} has " in said
    assert "training goes on from " in said and "checkpoint-4" in said
    assert_done(done["damaged"])
    assert_same(base / "damaged", base / "whole")


@pytest.mark.heavy
def test_another_seed_and_learning_rate_are_refused(done: dict[str, Any]) -> None:
    assert done["changed"]["codes"] == [1, 1]
    for said in done["changed"]["said"]:
        assert "belongs to another training: lr: 0.0003 -> 0.001; seed: 3 -> 4. Restore what it was" in said


@pytest.mark.heavy
def test_a_size_that_divides_by_nothing_ends(done: dict[str, Any], base: Path) -> None:
    """One tree for two ranks of two micro-batches, three repeats beside it."""
    assert_done(done["size 1"])
    assert facts(base / "size-1")["account"] == {
        "samples_per_epoch": 1, "epochs": 3.0, "samples": 3, "repeats": 9, "each_once_per_epoch": True
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(960)
def test_so_does_another_under_zero_3(many: tuple[dict[str, Any], Path]) -> None:
    done, base = many
    assert_done(done["size 5"])
    assert facts(base / "size-5")["account"] == {
        "samples_per_epoch": 5, "epochs": 2.0, "samples": 10, "repeats": 6, "each_once_per_epoch": True
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(960)
def test_loader_workers_change_nothing(many: tuple[dict[str, Any], Path]) -> None:
    """Two of them up to a kill in step 5, then one."""
    done, base = many
    assert done["two workers"]["killed"]
    assert_done(done["one worker"])
    assert_same(base / "workers", base / "sft-whole")


@pytest.mark.heavy
def test_a_mixture_is_exact_and_ends(done: dict[str, Any], base: Path) -> None:
    """2 x 2 trees of a and .75 x 4 = 3 of b make epochs of 7, in two steps of 4; so 10 steps are 5 epochs, 35 visits and 5 repeats."""
    assert_done(done["mixed"])
    assert facts(base / "mixed")["account"] == {"samples_per_epoch": 7, "epochs": 5.0, "samples": 35, "repeats": 5}


@pytest.mark.heavy
def test_an_unreadable_image_is_tolerated_up_to_the_share_and_stops_all_ranks_above_it(done: dict[str, Any], base: Path) -> None:
    """One of six trees is .167 of them."""
    assert_done(done["tolerated"])
    for rank in (0, 1):
        told = json.loads((base / "tolerated" / f"facts-{rank}.json").read_text())
        assert told["unreadable_trees"] == 1
        assert told["account"]["samples"] == 12
    assert done["too many"]["codes"] == [1, 1] and not done["too many"]["hung"]
    for said in done["too many"]["said"]:
        assert "TooManyBad: 1 of 6 trees have an image that could not be read, and optim.max_bad_share=0.16 tolerates 0" in said
        assert said.rstrip().endswith(": blue")


KILLS = 20
CHANGES = {"lr": 3e-3}
"""With a tenth of weight decay: enough for a wrong step count or decay of a bias to show in the third digit of the loss."""
RANKS = {f"zero {zero}{' lora' * lora}": {"zero": zero, "lora": lora} for zero in (2, 3) for lora in (False, True)}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    base = tmp_path_factory.mktemp("many")
    orders: dict[str, dict[str, Any]] = {}
    for kind in ("sft", "dpo"):
        orders[f"{kind} whole"] = {"folder": f"{kind}-whole", "kind": kind}
        orders[kind] = {"folder": kind, "kind": kind, "kills": KILLS, "seed": 2}
    for name, how in RANKS.items():
        common = {**how, "dropout": 0.0, "weight_decay": 0.1, "changes": CHANGES}
        orders[f"{name} whole"] = {"folder": f"{name} whole", **common}
        orders[f"{name} 2"] = {"folder": name, "dies_at": 5, **common}
        orders[f"{name} 1"] = {"folder": name, "dies_at": 8, "ranks": 1, **common}
        orders[f"{name} 2 again"] = {"folder": name, **common}
    orders["bf16"] = {"folder": "bf16", "kind": "nan_gradient", "precision": "bf16"}
    orders["two workers"] = {"folder": "workers", "dies_at": 5, "changes": {"loader_workers": 2}}
    orders["one worker"] = {"folder": "workers", "changes": {"loader_workers": 1}}
    orders["size 5"] = {"folder": "size-5", "size": 5, "steps": 4, "zero": 3}
    orders["consent 1"] = {"folder": "consent", "dies_at": 5}
    orders["consent 2"] = {"folder": "consent", "changes": {"lr": 1e-3, "resume_changed": True}}
    return run(base, orders, 900), base


@pytest.mark.long
@pytest.mark.timeout(960)
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_twenty_kills_leave_no_trace(kind: str, many: tuple[dict[str, Any], Path]) -> None:
    results, base = many
    assert_undisturbed(results[kind], base / kind, base / f"{kind}-whole", KILLS)
    in_save = sum(leg["killed"] and leg["in_save"] for leg in results[kind]["legs"])
    assert 3 <= in_save <= KILLS - 3, "kills within the writing of a checkpoint and outside"


@pytest.mark.long
@pytest.mark.timeout(960)
@pytest.mark.parametrize("name", RANKS)
def test_ranks_may_change(name: str, many: tuple[dict[str, Any], Path]) -> None:
    """2 ranks, then 1, then 2: the curve of two throughout to 1e-5, where the first step after a change would differ by 1e-4 and more if
    DeepSpeed's loading were left as it is."""
    results, base = many
    assert results[f"{name} 2"]["killed"] and results[f"{name} 1"]["killed"]
    assert_done(results[f"{name} 2 again"])
    assert all("it is converted for" in results[f"{name} {leg}"]["said"][0] for leg in ("1", "2 again"))
    lines, expected = log(base / name), log(base / f"{name} whole")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line, wanted in zip(lines, expected, strict=True):
        assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-5)
        assert line["learning_rate"] == wanted["learning_rate"]
    ours, whole = weights(base / name), weights(base / f"{name} whole")
    assert max(float((ours[key] - value).abs().max()) for key, value in whole.items()) < 1e-5
    assert facts(base / name)["account"] == ACCOUNT


@pytest.mark.long
@pytest.mark.timeout(960)
def test_a_changed_training_goes_on_by_consent(many: tuple[dict[str, Any], Path]) -> None:
    """Killed after step 5, resumed from step 4 with another learning rate: the new one from the next step on, on the same cosine; the
    account begins there."""
    results, base = many
    assert results["consent 1"]["killed"]
    assert_done(results["consent 2"])
    assert facts(base / "consent")["account"]["since_step"] == 4
    expected = [(3e-4 if step < 4 else 1e-3) * 0.5 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]
    assert [line["learning_rate"] for line in log(base / "consent")] == pytest.approx(expected)
    assert "lr: 0.0003 -> 0.001" in results["consent 2"]["said"][0]
