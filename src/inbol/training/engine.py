"""DeepSpeed: process group and configuration. The only module that imports it, beside the trainer it serves."""

from __future__ import annotations

import os
from typing import Any

import torch

from inbol.shards.order import Layout
from inbol.training.arguments import Sharding


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
    sharding: Sharding, layout: Layout, model: Any, *, max_grad_norm: float, load_universal: bool = False
) -> dict[str, Any]:
    """DeepSpeed's configuration for training `model`; batch sizes in trees (GRPO: responses). torch's AdamW is made by the trainer.

    `load_universal`: what is resumed from is a universal checkpoint; DeepSpeed can then load nothing else.
    """
    # DeepSpeed's own bucket (5e8 numbers) is touched bit by bit: gigabytes of memory for a model of half a million parameters
    bucket = max(1_000_000, min(sum(p.numel() for p in model.parameters() if p.requires_grad), 500_000_000))
    zero: dict[str, Any] = {
        "stage": sharding.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if sharding.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if sharding.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
        "train_batch_size": layout.global_batch,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": sharding.precision == "bf16"},
        **({"checkpoint": {"load_universal": True}} if load_universal else {}),
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }
