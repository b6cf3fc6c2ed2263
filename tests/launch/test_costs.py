"""`make plan`: what it prints for a recipe at a scale, and what it advises where a stage does not fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from launch.compose import CONF, compose_run, names
from launch.costs import GIB, HOLDING, PARTS, Model, advice, changes, cost_lines, lengths, memory_of, model_of, steps
from launch.main import main
from launch.plan import Node, plan

SEVEN = ("source.path=docs",)
"""Any folder: a plan looks at its pictures alone, and there are none."""


def planned(*overrides: str, recipe: str = "inbol-dpo", scale: str = "7b") -> tuple[RunConfig, dict[str, Node], Model]:
    run = compose_run(recipe, scale, [*(SEVEN if scale == "7b" else ()), *overrides])
    model = model_of(run)
    assert isinstance(model, Model)
    return run, {node.name: node for node in plan(run)}, model


def table(lines: list[str]) -> dict[str, dict[str, float]]:
    """Stage -> part -> GiB, as printed."""
    head = next(n for n, line in enumerate(lines) if line.split()[:2] == list(PARTS[:2]))
    rows = [line.split() for line in lines[head + 1 :] if line.split()[0] in HOLDING and not line.split()[0].endswith(":")]
    return {row[0]: dict(zip([*PARTS, "peak"], map(float, row[1:10]), strict=True)) for row in rows}


def printed(*overrides: str, gpu_memory: float | None = None, scale: str = "7b", recipe: str = "inbol-dpo") -> list[str]:
    run = compose_run(recipe, scale, [*(SEVEN if scale == "7b" else ()), *overrides])
    return list(cost_lines(run, plan(run), gpu_memory))


def test_lora_at_seven_billion() -> None:
    """Weights 14.1 GB over 8 ranks under ZeRO-3 are 1.64 GiB, whole 13.16; the reference model costs dpo nothing."""
    lines = printed(gpu_memory=80)
    parts = table(lines)
    assert list(parts) == ["sample", "sft", "reference", "dpo", "predict"]
    assert parts["sft"]["weights"] == 1.64 and parts["sample"]["weights"] == parts["reference"]["weights"] == 13.16
    assert all(0 < row["peak"] < 72 for row in parts.values())
    text = "\n".join(lines)
    assert "too much" not in text and "7.06 billion parameters" in text
    assert "global batch 64 images = 8 ranks x micro-batch 2 x accumulation 4; tokens per step: 36,864 of images + " in text
    assert "steps: unknown before ingest" in text and "frozen reference model takes nothing in dpo" in text


def test_what_does_not_fit_comes_with_the_first_change_that_does() -> None:
    """Full fine-tuning under ZeRO-2 on one GPU: 7 billion parameters need 12 bytes of Adam each, which LoRA alone saves."""
    run, nodes, model = planned("peft=full", "deepspeed=zero2", "deepspeed.precision=bf16", "launcher.ranks=1")
    limit = 40 * GIB
    assert memory_of(run, nodes["sft"], model)[0].peak > limit
    assert advice(run, nodes["sft"], model, limit) == 'fits with ARGS="deepspeed.offload_optimizer=true"'
    wide = compose_run("inbol-dpo", "7b", [*SEVEN, "deepspeed=zero2", "deepspeed.gradient_checkpointing=false", "sft.optim.micro_batch=16"])
    assert memory_of(wide, nodes["sft"], model)[0].peak > limit
    assert advice(wide, nodes["sft"], model, limit) == 'fits with ARGS="deepspeed.gradient_checkpointing=true"'
    lines = printed("peft=full", "deepspeed=zero2", "launcher.ranks=8", gpu_memory=24)
    assert any(line.startswith("sft") and line.endswith("too much") for line in lines)
    (told,) = [line for line in lines if line.startswith("sft: ") and "ARGS" in line]
    assert re.search(r'fits with ARGS="[\w.= ]+"$', told)


def test_advice_is_taken_at_its_word() -> None:
    """The ARGS compose, and the run they make fits."""
    full = ["peft=full", "deepspeed=zero2"]
    for overrides, memory in ((full, 32), (full, 24), (["sampling.trees_per_batch=64"], 80)):
        run, nodes, model = planned(*overrides)
        asked = 0
        for name in ("sample", "sft", "dpo"):
            limit = memory * GIB * 0.9
            if memory_of(run, nodes[name], model)[0].peak <= limit:
                continue
            asked += 1
            (text,) = re.findall(r'ARGS="(.+)"$', advice(run, nodes[name], model, limit))
            changed = compose_run("inbol-dpo", "7b", [*SEVEN, *overrides, *text.split()])
            assert memory_of(changed, nodes[name], model)[0].peak <= limit
        assert asked


def test_what_never_fits_is_said() -> None:
    run, nodes, model = planned()
    assert advice(run, nodes["predict[base]"], model, 4 * GIB).startswith("does not fit, whatever is changed")


def test_changes_come_in_order() -> None:
    run, nodes, model = planned("peft=full", "deepspeed=zero1", "deepspeed.gradient_checkpointing=false", "sft.optim.micro_batch=8")
    assert [args for args, _ in changes(run, nodes["sft"], model)] == [
        "deepspeed.gradient_checkpointing=true", "sft.optim.micro_batch=4", "sft.optim.micro_batch=2", "sft.optim.micro_batch=1",
        "deepspeed.zero_stage=2", "deepspeed.zero_stage=3", "deepspeed.offload_optimizer=true", "peft=lora",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in names(CONF / "model") if name != "tiny"])
def test_every_model_plans(name: str) -> None:
    lines = printed(f"model={name}", gpu_memory=80)
    assert "billion parameters" in "\n".join(lines) and len(table(lines)) == 5
    assert compose_run("inbol-dpo", "7b", [*SEVEN, f"model={name}"]).base.kind == "pretrained"


def test_the_old_name_of_the_scale_is_the_same_run() -> None:
    old, new = (compose_run("inbol-dpo", scale, SEVEN) for scale in ("llava-1.5-7b", "7b"))
    assert replace(old, scale="7b") == new
    assert new.deepspeed.gradient_checkpointing and new.sft.optim.global_batch == 64 and new.sft.optim.micro_batch == 2


def test_the_tiny_run_is_counted(tmp_path: Path) -> None:
    """1,200 images, 16 a step, 9 epochs: at most 675 steps; soft SFT has 2 x 6 + 5 responses of 12 tokens on 11 questions of 20, and 64 of
    the image: 488 tokens."""
    run, nodes, model = planned(f"runs_dir={tmp_path}", scale="tiny")
    assert steps(run, nodes["sft"]) == "at most 675" and steps(run, nodes["dpo"]) == "at most 75"
    at = lengths(run, "sft", model, 8)
    assert (at.length, at.targets) == (488, 17 * 12)
    assert list(table(printed(scale="tiny"))) == ["base", "sample", "sft", "reference", "dpo", "predict"]
    assert lengths(compose_run("plain-sft", "tiny"), "sft", model, 8).targets == 6 * 12


def test_other_weights_than_the_numbers_are_refused_not_guessed() -> None:
    lines = printed("base.path=llava-hf/llava-1.5-13b-hf")
    assert lines[-1].startswith("no memory: the numbers of llava-hf/llava-1.5-13b-hf are not known (conf/model/ has those of llava-hf")
    with pytest.raises(ValueError, match=r"^model\.text: LlamaConfig has no hiden_size"):
        printed("model.text={model_type: llama, hiden_size: 8}")


def test_a_local_checkpoint_brings_its_own_numbers(tmp_path: Path) -> None:
    from inbol.models.tiny import build_config

    small = {"image_size": 16, "patch_size": 8, "hidden_size": 32, "vision_layers": 1, "text_layers": 2, "heads": 2}
    build_config(vocab_size=99, **small).save_pretrained(tmp_path)
    model = model_of(compose_run("inbol-dpo", "7b", [*SEVEN, f"base.path={tmp_path}"]))
    assert isinstance(model, Model) and model.shape.vocab == 99 and model.shape.text.layers == 2


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--recipe", "inbol-sft", "--scale", "7b", "--gpus", "4", "--gpu-memory", "40", "--", *SEVEN]) == 0
    out = capsys.readouterr().out
    assert "stages to run" in out and "plan for 4 processes" in out and "= 4 ranks x micro-batch 2 x accumulation 8" in out
    assert "fits if at most 36.0 of 40 GiB" in out
    assert main(["plan", "--recipe", "inbol-sft", "--scale", "7b", "--gpus", "", "--gpu-memory", "", "--", *SEVEN]) == 0
    assert "plan for 8 processes" in capsys.readouterr().out


def test_ranks_that_do_not_divide_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--recipe", "inbol-sft", "--scale", "7b", "--gpus", "3", "--", *SEVEN]) == 2
    assert "do not divide over launcher.ranks=3" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="questions_per_image"):
        compose_run("inbol-dpo", "7b", [*SEVEN, "plan.questions_per_image=-1"])


def test_a_tiny_model_of_another_family_gets_no_llava_numbers() -> None:
    lines = printed("base.tiny.family=qwen3_vl", "base.tower_epochs=0", "base.tower_lr_factor=1", scale="tiny")
    assert lines[-1] == "no memory: a tiny qwen3_vl is for trying its path; what it takes is not planned"


@pytest.mark.parametrize(
    ("recipe", "stage", "trees", "questions", "responses"),
    [
        ("inbol-dpo", "sft", 8, 11, 17),  # 6 answerable, 5 beyond: 2 x 6 + 5
        ("idk-sft", "sft", 8, 6, 6),
        ("idk-hir", "sft", 8, 18, 18),  # three levels
        ("honesty-multisample", "sft", 8, 6, 66),  # at most ten samples and a refusal
        ("mub-mix", "sft", 8, 18, 18),
        ("mohobench-simpo", "dpo", 8, 5, 10),
        ("mdpo", "dpo", 16, 11, 22),  # the altered image has a tree of its own
    ],
)
def test_methods_differ_in_what_stands_below_an_image(recipe: str, stage: str, trees: int, questions: int, responses: int) -> None:
    """20 tokens a question, 12 a response, 64 of the image; rounded up to 8."""
    run, _, model = planned(recipe=recipe, scale="tiny")
    at = lengths(run, stage, model, 8)
    assert (at.trees, at.targets) == (trees, 12 * responses)
    assert at.length == -(-(64 + 20 * questions + 12 * responses) // 8) * 8


def test_what_is_not_computed_is_said() -> None:
    lines = printed(recipe="rlkf", scale="tiny")
    assert [line.split(";")[0] for line in lines if "not available" in line] == ["reward: not available", "grpo: not available"]
