"""What a training is given: optimiser, length and sharding, and how that reads in the library's own vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inbol.shards.mixing import mixture
from inbol.shards.order import WHOLE, Layout, Shuffle
from inbol.shards.schedule import Schedule
from inbol.training.stream import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """The optimiser of any training here, trees or not; see `OptimConfig` for the fields' meaning."""

    lr: float
    micro_batch: int
    warmup_share: float
    weight_decay: float
    max_grad_norm: float
    log_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Descent):
    """Optimiser and length of a run; see `OptimConfig` for the fields' meaning."""

    epochs: float
    global_batch: int
    save_steps: int
    shuffle_block: int = WHOLE.block
    shuffle_window: int = WHOLE.window
    mix: dict[str, float] = field(default_factory=dict)
    max_bad_share: float = 0.0
    loader_workers: int = 0
    keep_checkpoints: int = 2
    resume_changed: bool = False


BOUND = ("lr", "epochs", "global_batch", "shuffle_block", "shuffle_window", "mix", "warmup_share", "weight_decay", "max_grad_norm")
"""Of `Budget`, what a checkpoint may not be resumed without: with another value it would be another training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """DeepSpeed's part; see `DeepSpeedConfig`."""

    zero_stage: int
    precision: str
    offload_optimizer: bool
    gradient_checkpointing: bool


def bound(
    objective: Objective, budget: Budget, sharding: Sharding, *, seed: int, max_steps: int, lr_factors: dict[str, float]
) -> dict[str, Any]:
    """What a training's checkpoints belong to, as JSON values: its data, their order, and the optimiser.

    Ranks, micro-batch, accumulation, loader workers and what is saved and logged when are not part of it: they change no sample and, up to
    rounding, no weight.
    """
    return {
        **objective.identity(),
        "trees": objective.size,
        **{name: getattr(budget, name) for name in BOUND},
        "lr_factors": lr_factors,
        "seed": seed,
        "max_steps": max_steps,
        "zero_stage": sharding.zero_stage,
        "precision": sharding.precision,
    }


def schedule_of(objective: Objective, budget: Budget, *, seed: int) -> Schedule:
    """The order of a training's trees.

    A tree is of the source `s` of `budget.mix` whose name its own begins with, as in `s-000017`; of none, its weight is 1.

    Raises:
        ValueError: no trees, no such shuffle, or a weight for a source that has no tree.
    """
    if objective.size < 1:
        raise ValueError("there is nothing to train on: no record has a weight; look at the counts of the stage before")
    shuffle = Shuffle(budget.shuffle_block, budget.shuffle_window)
    mixed = None
    if budget.mix:
        names = (objective.name(index) for index in range(objective.size))
        sources = [next((source for source in budget.mix if name.startswith(f"{source}-")), "") for name in names]
        mixed = mixture(sources, budget.mix, seed=seed, shuffle=shuffle)
    return Schedule(samples=objective.size, global_batch=budget.global_batch, seed=seed, shuffle=shuffle, mixture=mixed)


def common_arguments(
    *, folder: Path, descent: Descent, layout: Layout, sharding: Sharding, max_steps: int, seed: int, deepspeed: dict[str, Any]
) -> dict[str, Any]:
    """What every trainer of the library is given, by the names of its `TrainingArguments`."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "learning_rate": descent.lr,
        "lr_scheduler_type": "cosine",
        "max_steps": max_steps,
        "warmup_steps": round(descent.warmup_share * max_steps),
        "weight_decay": descent.weight_decay,
        "max_grad_norm": descent.max_grad_norm,
        "logging_steps": descent.log_steps,
        "logging_first_step": True,
        "seed": seed,
        "bf16": sharding.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": sharding.gradient_checkpointing,
        "report_to": [],
        "disable_tqdm": True,
        "deepspeed": deepspeed,
    }


def trainer_arguments(
    config_class: type,
    *,
    folder: Path,
    budget: Budget,
    layout: Layout,
    sharding: Sharding,
    max_steps: int,
    seed: int,
    deepspeed: dict[str, Any],
    **more: Any,
) -> Any:
    """TRL's `SFTConfig` or `DPOConfig` with every default that would bite switched off."""
    return config_class(
        **common_arguments(
            folder=folder, descent=budget, layout=layout, sharding=sharding, max_steps=max_steps, seed=seed, deepspeed=deepspeed
        ),
        optim="adamw_torch",
        save_steps=budget.save_steps,
        save_total_limit=None,  # `StreamTrainer` keeps the newest ones itself, once they have their names
        ignore_data_skip=True,  # FromStep starts at the right place; skipping would read everything again
        remove_unused_columns=False,
        max_length=None,
        dataloader_num_workers=budget.loader_workers,
        **more,
    )
