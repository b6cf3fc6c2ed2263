"""DeepSpeed: process group and configuration. The only module that imports it, beside the trainer it serves."""

from __future__ import annotations

import os
from typing import Any

import torch


def start_ranks() -> tuple[int, int]:
    """Join the process group the launcher set up; returns (rank, world size). Must run before `TrainingArguments` exist.

    On CPU, DeepSpeed would compile its shared-memory collectives at first use (minutes); gloo alone is enough, so that op is switched off.
    """
    import deepspeed

    cuda = torch.cuda.is_available()
    if not cuda:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29511")):
        os.environ.setdefault(name, value)
    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def deepspeed_config(
    *,
    zero_stage: int,
    precision: str,
    offload_optimizer: bool,
    micro_batch: int,
    accumulation: int,
    world_size: int,
    max_grad_norm: float,
    trainable_parameters: int,
    load_universal: bool = False,
) -> dict[str, Any]:
    """DeepSpeed's configuration for one training run; batch sizes in trees. The optimiser is torch's AdamW, made by the trainer.

    `load_universal`: what is resumed from is a universal checkpoint; DeepSpeed can then load nothing else.
    """
    # DeepSpeed's own bucket (5e8 numbers) is touched bit by bit: gigabytes of memory for a model of half a million parameters
    bucket = max(1_000_000, min(trainable_parameters, 500_000_000))
    zero: dict[str, Any] = {
        "stage": zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": micro_batch * accumulation * world_size,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": precision == "bf16"},
        **({"checkpoint": {"load_universal": True}} if load_universal else {}),
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }
