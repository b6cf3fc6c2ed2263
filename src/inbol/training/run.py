"""One training run: stream, DeepSpeed, trainer, from plain arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.shards.files import write_text
from inbol.training.engine import deepspeed_config
from inbol.training.stream import Objective, StepStream, spread
from inbol.training.trainer import EveryStep, Report, StreamTrainer, trainer_arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Optimiser and length of a run; see `OptimConfig` for the fields' meaning."""

    lr: float
    epochs: float
    global_batch: int
    micro_batch: int
    warmup_share: float
    weight_decay: float
    max_grad_norm: float
    save_steps: int
    log_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """DeepSpeed's part; see `DeepSpeedConfig`."""

    zero_stage: int
    precision: str
    offload_optimizer: bool
    gradient_checkpointing: bool


def train(
    objective: Objective,
    model: Any,
    processor: Any,
    *,
    config_class: type,
    folder: Path,
    budget: Budget,
    sharding: Sharding,
    seed: int,
    rank: int,
    world_size: int,
    report: Report,
    track: Callable[[dict[str, float], int], None] | None = None,
    lr_factors: dict[str, float] | None = None,
    note: str = "",
    **more: Any,
) -> tuple[StreamTrainer, dict[str, Any]]:
    """Train `model` in place, resuming from `folder` when it holds a complete checkpoint.

    Returns:
        (the trainer, facts for the manifest: steps, world size, ZeRO stage, trees read by this rank, last logged values). The curve is
        written to `folder/log_history.json`.

    Raises:
        ValueError: the ranks do not divide the global batch.
        FloatingPointError: a loss that is not finite; the step is not taken.
    """
    layout = spread(budget.global_batch, world_size, budget.micro_batch)
    stream = StepStream(objective, layout, rank=rank, seed=seed)
    max_steps = max(1, round(budget.epochs * stream.steps_per_epoch))
    deepspeed = deepspeed_config(
        zero_stage=sharding.zero_stage,
        precision=sharding.precision,
        offload_optimizer=sharding.offload_optimizer,
        micro_batch=layout.micro_batch,
        accumulation=layout.accumulation,
        world_size=world_size,
        max_grad_norm=budget.max_grad_norm,
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    arguments = trainer_arguments(
        config_class,
        folder=folder,
        lr=budget.lr,
        max_steps=max_steps,
        warmup_share=budget.warmup_share,
        weight_decay=budget.weight_decay,
        max_grad_norm=budget.max_grad_norm,
        save_steps=budget.save_steps,
        log_steps=budget.log_steps,
        micro_batch=layout.micro_batch,
        accumulation=layout.accumulation,
        seed=seed,
        bf16=sharding.precision == "bf16",
        gradient_checkpointing=sharding.gradient_checkpointing,
        deepspeed=deepspeed,
        **more,
    )
    trainer = StreamTrainer(
        stream=stream,
        lr_factors=lr_factors,
        model=model,
        args=arguments,
        processing_class=processor,
        callbacks=[EveryStep(report, track, note)],
    )
    trainer.run()
    if rank == 0:
        write_text(folder / "log_history.json", json.dumps(trainer.state.log_history))
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    facts = {
        "steps": max_steps,
        "trees": objective.size,
        "trees_read_by_this_rank": max_steps * layout.accumulation * layout.micro_batch,
        "world_size": world_size,
        "zero_stage": sharding.zero_stage,
        "precision": sharding.precision,
        "global_batch": layout.global_batch,
        "micro_batch": layout.micro_batch,
        "accumulation": layout.accumulation,
        "last": logged[-1] if logged else {},
    }
    return trainer, facts
