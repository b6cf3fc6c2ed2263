"""What a run costs before anything is started: steps, batches, tokens and memory of every stage that holds a model.

From configuration alone: architecture numbers (`conf/model/`), the source's image counts and what `PlanConfig` assumes. Imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from inbol.config.run import RunConfig
from inbol.config.training import OptimConfig
from inbol.models.architecture import published, shape_of
from inbol.models.memory import Lengths, Memory, Shape, Training, decoding_memory, text_activations, training_memory
from inbol.models.tiny import build_config
from inbol.models.tree import LENGTH_STEP
from inbol.shards.manifest import is_complete, read_manifest
from inbol.shards.order import spread, steps_per_epoch
from launch.plan import Node

GIB = 2**30
TRAINED = ("base", "sft", "dpo")
HOLDING = ("base", "sample", "sft", "reference", "dpo", "predict")
"""Stages that hold a model, in the order of the path."""
UNPLANNED = {
    "reward": "it trains as dpo does, on the pairs, with one number a response in the place of a row of logits",
    "grpo": "TRL samples and trains padded rows, one a response, and holds a reference model too where grpo.beta is above 0 without LoRA",
}
"""Stages that hold a model and whose memory is not computed."""
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "vision", "buffers", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The run's model in numbers."""

    name: str
    shape: Shape
    image_tokens: int
    patches: int
    item: int
    """Bytes of a weight in its checkpoint."""


def model_of(run: RunConfig) -> Model | str:
    """The model in numbers, or why there are none.

    Raises:
        ValueError: numbers that make no model.
    """
    base, model = run.base, run.model
    if base.kind == "tiny":
        tiny = base.tiny
        if tiny.family != "llava":
            return f"a tiny {tiny.family} is for trying its path; what it takes is not planned"
        sizes = {name: getattr(tiny, name) for name in ("image_size", "patch_size", "hidden_size", "vision_layers", "text_layers", "heads")}
        tokens = (tiny.image_size // tiny.patch_size) ** 2
        shape = shape_of(build_config(vocab_size=tiny.vocab_size, **sizes))
        return Model(name="the tiny model", shape=shape, image_tokens=tokens, patches=tokens + 1, item=4)
    config: Any
    if Path(base.path, "config.json").is_file():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(base.path, trust_remote_code=False)
    elif model.of == base.path and model.family:
        config = published(model.family, text=model.text, vision=model.vision, more=model.more)
    else:
        return (
            f"the numbers of {base.path} are not known (conf/model/ has those of {model.of or 'no checkpoint'}); "
            "choose one with ARGS=model=..., set base.path to a local checkpoint, or write its conf/model/ file"
        )
    if not model.image_tokens:
        return f"how many tokens an image of {base.path} takes is not known; set model.image_tokens and model.image_patches"
    return Model(
        name=base.path,
        shape=shape_of(config),
        image_tokens=model.image_tokens,
        patches=model.image_patches,
        item=model.checkpoint_bytes,
    )


def lengths(run: RunConfig, stage: str, model: Model, trees: int) -> Lengths:
    """The assumed micro-batch of a stage, `trees` rows."""
    plan, method = run.plan, run.sft_data.method
    answerable = plan.questions_per_image
    beyond = run.unsolvable.false_premises_per_image + run.unsolvable.others_per_image
    questions = answerable + beyond
    if stage == "sft":
        answerable, beyond = (0 if run.sft_data.of == left else n for n, left in ((answerable, "beyond-image"), (beyond, "answerable")))
    elif stage in ("dpo", "reference") and run.pairs.of != "all":
        questions = answerable if run.pairs.of == "answerable" else beyond
    if stage == "base":
        questions = responses = run.base.questions_per_image + run.base.say_items
    elif stage == "sft":
        questions = answerable + (0 if method == "plain" else beyond)
        if method == "levels":  # each level is a question of its own
            questions *= run.sft_data.levels
        questions += 2 * answerable if run.sft_data.mislead else 0
        responses = 2 * answerable + beyond if method == "soft" else questions
        if run.sft_data.answer == "samples":  # at most every sample another answer
            responses += (run.sampling.k - 1) * answerable
    elif stage in ("dpo", "reference"):  # duplicated: at most every sample another answer, and the refusal
        trees *= 2 if run.pairs.altered else 1
        responses = questions * (2 if run.pairs.form == "single" else run.sampling.k + 1)
    else:
        responses = 0
    text = questions * plan.question_tokens + responses * plan.response_tokens
    length = -(-(model.image_tokens + text) // LENGTH_STEP) * LENGTH_STEP
    return Lengths(
        trees=trees,
        length=length,
        image_tokens=model.image_tokens,
        targets=responses * plan.response_tokens,
        patches=model.patches,
    )


def optim_of(run: RunConfig, stage: str) -> OptimConfig:
    """The optimiser of a training stage."""
    return {"base": run.base.optim, "sft": run.sft.optim, "dpo": run.dpo.optim}[stage]


def memory_of(run: RunConfig, node: Node, model: Model) -> tuple[Memory, Lengths]:
    """One process of a stage: its memory, and the batch it was computed for."""
    stage = node.stage
    if stage not in TRAINED:
        trees = run.predict.trees_per_batch if stage == "predict" else run.sampling.trees_per_batch
        at = lengths(run, stage, model, trees)
        questions = (at.length - at.image_tokens) // run.plan.question_tokens
        draws = node.config.sampling.k + node.config.sampling.fresh if stage == "sample" else 1
        tokens = {"sample": run.sampling.max_new_tokens, "predict": run.predict.max_new_tokens, "reference": 0}[stage]
        item = weight_bytes(run) if stage == "reference" else model.item
        return decoding_memory(model.shape, at, item=item, nodes=questions * draws, new_tokens=tokens), at
    layout = spread(optim_of(run, stage).global_batch, run.launcher.world(stage), optim_of(run, stage).micro_batch)
    at = lengths(run, stage, model, layout.micro_batch)
    lora = run.peft.kind == "lora" and stage != "base"
    frozen = run.base.tower_lr_factor == 0 if stage == "base" else run.peft.freeze_vision_tower or lora
    how = Training(
        trained=model.shape.trained(
            lora_rank=run.peft.r if lora else 0, target_modules=run.peft.target_modules, freeze_vision_tower=frozen
        ),
        ranks=run.launcher.world(stage),
        zero_stage=run.deepspeed.zero_stage,
        item=weight_bytes(run),
        accumulation=layout.accumulation,
        gradient_checkpointing=run.deepspeed.gradient_checkpointing,
        offload_optimizer=run.deepspeed.offload_optimizer,
        vision_trained=not frozen,
    )
    return training_memory(model.shape, at, how), at


def weight_bytes(run: RunConfig) -> int:
    """Bytes of a weight in training."""
    return 2 if run.deepspeed.precision == "bf16" else 4


def steps(run: RunConfig, node: Node) -> str:
    """Optimiser steps of a training stage, as far as they are known."""
    if is_complete(node.folder):
        return f"{read_manifest(node.folder)['facts']['steps']} (done)" if node.stage != "base" or run.base.kind == "tiny" else "none"
    optim = optim_of(run, node.stage)
    split = "pretrain" if node.stage == "base" else "align-train"
    vqa = node.inputs["vqa"]
    if is_complete(vqa.folder):
        images = read_manifest(vqa.folder)["facts"]["images"].get(split, 0)
    elif run.source.name == "local":
        return "unknown before ingest"  # the sizes of a local source are relative
    else:
        images = run.source.pretrain_images if split == "pretrain" else run.source.align_train_images
    return f"at most {max(1, round(optim.epochs * steps_per_epoch(images, optim.global_batch)))}"


def changes(run: RunConfig, node: Node, model: Model) -> Iterator[tuple[str, RunConfig]]:
    """Single changes that need less memory, the least costly first: what to put into ARGS, and the run with it."""
    stage, zero = node.stage, run.deepspeed
    if stage not in TRAINED:
        group = "predict" if stage == "predict" else "sampling"
        now = getattr(run, group)
        for trees in _halves(now.trees_per_batch):
            yield f"{group}.trees_per_batch={trees}", replace(run, **{group: replace(now, trees_per_batch=trees)})
        return
    if not zero.gradient_checkpointing:
        yield "deepspeed.gradient_checkpointing=true", replace(run, deepspeed=replace(zero, gradient_checkpointing=True))
    own = getattr(run, stage)
    for micro in _halves(spread(own.optim.global_batch, run.launcher.world(stage), own.optim.micro_batch).micro_batch):
        yield f"{stage}.optim.micro_batch={micro}", replace(run, **{stage: replace(own, optim=replace(own.optim, micro_batch=micro))})
    for level in range(zero.zero_stage + 1, 4):
        yield f"deepspeed.zero_stage={level}", replace(run, deepspeed=replace(zero, zero_stage=level))
    if not zero.offload_optimizer and zero.zero_stage:
        yield "deepspeed.offload_optimizer=true", replace(run, deepspeed=replace(zero, offload_optimizer=True))
    if stage != "base" and run.peft.kind != "lora":
        yield "peft=lora", replace(run, peft=replace(run.peft, kind="lora"))


def advice(run: RunConfig, node: Node, model: Model, limit: float) -> str:
    """What makes a stage fit into `limit` bytes: the first single change that does, else the changes together, else more GPUs."""
    for args, changed in changes(run, node, model):
        if memory_of(changed, node, model)[0].peak <= limit:
            return f'fits with ARGS="{args}"'
    taken: dict[str, str] = {}
    while memory_of(run, node, model)[0].peak > limit:
        following = next(((args, changed) for args, changed in changes(run, node, model)), None)
        if following is None:
            return "does not fit, whatever is changed: take more GPUs with ZeRO-3, larger ones, or a smaller model"
        args, run = following
        taken[args.split("=")[0]] = args
    return f'no single change is enough; fits with ARGS="{" ".join(taken.values())}"'


def _halves(number: int) -> list[int]:
    return [number // 2**power for power in range(1, number.bit_length()) if number // 2**power]


def cost_lines(run: RunConfig, nodes: Sequence[Node], gpu_memory: float | None) -> Iterator[str]:
    """The plan, line by line. `gpu_memory`: GiB of one GPU, or None where nothing is to be compared.

    Raises:
        ValueError: numbers in `model` or `peft` that make no model.
    """
    model = model_of(run)
    yield f"plan for {run.launcher.nodes * run.launcher.ranks} processes, one per GPU where there are any"
    if isinstance(model, str):
        yield f"no memory: {model}"
        return
    shown: dict[str, Node] = {}
    for stage in HOLDING:  # predict[...] are alike; of the samplings, the one with most samples counts
        alike = [node for node in nodes if node.stage == stage and (stage != "base" or run.base.kind == "tiny")]
        if alike:
            shown[stage] = max(alike, key=lambda node: node.config.sampling.fresh) if stage == "sample" else alike[0]
    yield from _assumptions(run, model)
    yield ""
    yield from _batches(run, shown, model)
    yield ""
    yield from _memory(run, shown, model, gpu_memory)
    for stage in dict.fromkeys(node.stage for node in nodes if node.stage in UNPLANNED):
        yield f"{stage}: not available; {UNPLANNED[stage]}"


def _assumptions(run: RunConfig, model: Model) -> Iterator[str]:
    shape, plan = model.shape, run.plan
    yield f"{model.name}: {_count(shape.parameters)} parameters, {_count(shape.vision_parameters)} of them in the vision tower"
    beyond = run.unsolvable.false_premises_per_image + run.unsolvable.others_per_image
    yield (
        f"assumed: {model.image_tokens} tokens an image (model.image_tokens), {plan.questions_per_image} questions about it "
        f"(plan.questions_per_image) and {beyond} beyond it (unsolvable.*), {plan.question_tokens} tokens a question "
        f"(plan.question_tokens), {plan.response_tokens} a response (plan.response_tokens)"
    )


def _batches(run: RunConfig, shown: dict[str, Node], model: Model) -> Iterator[str]:
    for stage in [stage for stage in TRAINED if stage in shown]:
        optim = optim_of(run, stage)
        layout = spread(optim.global_batch, run.launcher.world(stage), optim.micro_batch)
        at = lengths(run, stage, model, layout.global_batch)
        image, rest = at.trees * at.image_tokens, at.trees * (at.length - at.image_tokens)
        yield (
            f"{stage:<10}steps: {steps(run, shown[stage])}; global batch {layout.global_batch} images = {layout.world_size} ranks x "
            f"micro-batch {layout.micro_batch} x accumulation {layout.accumulation}; "
            f"tokens per step: {image:,} of images + {rest:,} of text"
        )


def _memory(run: RunConfig, shown: dict[str, Node], model: Model, gpu_memory: float | None) -> Iterator[str]:
    """The table, then what is to be known about single stages."""
    zero, plan = run.deepspeed, run.plan
    taken = {stage: memory_of(run, node, model)[0] for stage, node in shown.items()}
    limit = inf if gpu_memory is None else gpu_memory * (1 - plan.reserve) * GIB
    unit, size = ("GiB", GIB) if max(memory.peak for memory in taken.values()) >= GIB else ("MiB", 2**20)
    yield (
        f"{unit} per process; training: ZeRO-{zero.zero_stage}, {zero.precision}, "
        f"{f'LoRA r={run.peft.r}' if run.peft.kind == 'lora' else 'full'}, gradient checkpointing "
        f"{'on' if zero.gradient_checkpointing else 'off'}, optimizer {'in host memory' if zero.offload_optimizer else 'on the device'}"
    )
    yield f"{'':<10}" + "".join(f"{part:>12}" for part in PARTS) + f"{'peak':>10}"
    for stage, memory in taken.items():
        line = f"{stage:<10}" + "".join(f"{getattr(memory, part) / size:>12.2f}" for part in PARTS) + f"{memory.peak / size:>10.2f}"
        yield f"{line}  too much" if memory.peak > limit else line
    for stage, memory in taken.items():
        if stage in TRAINED:
            at, item = memory_of(run, shown[stage], model)[1], weight_bytes(run)
            off, on = (text_activations(model.shape, at, item=item, gradient_checkpointing=flag) / size for flag in (False, True))
            yield f"{stage}: activations {off:.2f} without gradient checkpointing, {on:.2f} with it"
        if memory.host:
            yield f"{stage}: {memory.host / size:.2f} of host memory per process for the offloaded optimizer"
        if memory.peak > limit:
            yield f"{stage}: {advice(run, shown[stage], model, limit)}"
    if "reference" in shown:
        yield "the frozen reference model takes nothing in dpo: its log-probabilities are read from the stage reference"
    yield "peak: weights + optimizer + the larger of (gradients + buffers + activations + logits, vision before them) and update"
    if gpu_memory is not None:
        yield f"fits if at most {limit / GIB:.1f} of {gpu_memory:g} GiB: {plan.reserve:.0%} stay free (plan.reserve)"
    yield "arithmetic, not a measurement: docs/planning.md says what was measured"


def _count(parameters: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if parameters >= size:
            return f"{parameters / size:.2f} {unit}"
    return f"{parameters:,}"
