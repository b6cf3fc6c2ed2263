"""Short training runs on the toy set: by the project's trainer, and by a loop of plain torch on padded conversations, their oracle.

Four steps of four trees over six images: two epochs, each of whose second steps ends in repeats that must weigh nothing. The vision
tower is frozen; a bias of its keys has a gradient of 0 up to rounding, which Adam would blow up to full steps in random directions. For
the same reason equality to the last digits is shown in float64: in float32 one weight with a gradient near 0 shows at 1e-6 of the norm.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import toy
from streams import stream_of
from torch import Tensor
from trl import DPOConfig, SFTConfig

from inbol.losses.dpo import preference_loss
from inbol.models.load import freeze_vision_tower
from inbol.models.tree import TreeCollator
from inbol.shards.order import Layout
from inbol.training.objectives import DpoObjective, PairTrees, SftObjective
from inbol.training.trainer import Budget, EveryStep, Sharding, StreamTrainer, trainer_arguments

OBJECTIVES = ("sft", "dpo")
GLOBAL_BATCH, STEPS, LR, SEED, CLIP = 4, 4, 3e-4, 3, 1.0


def config_class(kind: str) -> type:
    """TRL's configuration of the objective."""
    return {"sft": SFTConfig, "dpo": DPOConfig}[kind]


def objective(kind: str) -> SftObjective | DpoObjective:
    """The toy set under this objective."""
    collator = TreeCollator(toy.processor())
    if kind == "sft":
        return SftObjective(toy.sft_examples(), toy.image, collator)
    return DpoObjective(PairTrees(toy.pairs(), toy.image, collator), toy.reference(toy.pairs()), **toy.LOSS)


def mixed_objective() -> SftObjective:
    """The toy set with every second picture taken away: whether a micro-batch has one differs from rank to rank."""
    collator = TreeCollator(toy.processor(), always_image=True)
    shown = list(toy.COLORS)[::2]
    return SftObjective(toy.sft_examples(), lambda key: toy.image(key) if key in shown else None, collator)


def start_model(dtype: torch.dtype = torch.float32) -> Any:
    """The model that every run starts from."""
    model = toy.model(1).to(dtype)
    freeze_vision_tower(model)
    return model


UNSHARDED = Sharding(zero_stage=0, precision="fp32", offload_optimizer=False, gradient_checkpointing=False)


def budget(*, save_steps: int) -> Budget:
    """The budget of every toy run: no warm-up, no decay, `STEPS` steps (two to an epoch)."""
    return Budget(
        lr=LR, epochs=STEPS / 2, global_batch=GLOBAL_BATCH, micro_batch=1, warmup_share=0.0, weight_decay=0.0, max_grad_norm=CLIP,
        save_steps=save_steps, log_steps=1,
    )  # fmt: skip


def weights(model: Any) -> Tensor:
    """All trained weights as one vector."""
    trained = {name: p.detach().double().flatten() for name, p in model.named_parameters() if "vision_tower" not in name}
    return torch.cat([trained[name] for name in sorted(trained)])


def distance(one: Tensor, other: Tensor) -> float:
    """|a - b| / |b|."""
    return float((one - other).norm() / other.norm())


def trainer_run(kind: str, folder: Path, micro_batch: int, dtype: torch.dtype) -> tuple[Any, list[dict[str, float]]]:
    """(trained model, log) of `StreamTrainer` in this process, one rank, without DeepSpeed."""
    layout = Layout(GLOBAL_BATCH, 1, micro_batch)
    model = start_model(dtype)
    arguments = trainer_arguments(
        config_class(kind), folder=folder, budget=budget(save_steps=1000), layout=layout, sharding=UNSHARDED, max_steps=STEPS, seed=SEED,
        deepspeed=None,
    )  # fmt: skip
    trainer = StreamTrainer(
        stream=stream_of(objective(kind), layout, rank=0, seed=SEED),
        model=model,
        args=arguments,
        callbacks=[EveryStep(lambda done, total, note: None, None, "")],
    )
    trainer.run()
    return model, [entry for entry in trainer.state.log_history if "loss" in entry]


def torch_run(kind: str, dtype: torch.dtype) -> tuple[Any, list[dict[str, float]]]:
    """(trained model, log) of a plain loop: each step one padded batch of all its examples, loss = sum of w x loss / sum of w."""
    model = start_model(dtype)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.99), weight_decay=0.0)
    stream = stream_of(objective(kind), Layout(GLOBAL_BATCH, 1, GLOBAL_BATCH), rank=0, seed=SEED)
    log = []
    for step in range(STEPS):
        images = [list(toy.COLORS)[visit.index] for visit in stream.visits(step) if visit.real]
        loss = _sft(model, images) if kind == "sft" else _dpo(model, images)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        optimizer.step()
        model.zero_grad()
        log.append({"loss": float(loss.detach()), "grad_norm": float(norm)})
    return model, log


def _sft(model: Any, images: list[str]) -> Tensor:
    records = [record for record in toy.sft_examples() if record.image_key in images]
    weight = torch.tensor([record.weight for record in records])
    logps = toy.padded_logps(model, [(toy.image(r.image_key), r.prompt, r.target) for r in records])
    return -(weight * logps).sum() / weight.sum()


def _dpo(model: Any, images: list[str]) -> Tensor:
    records = [pair for pair in toy.pairs() if pair.image_key in images]
    references = toy.reference(toy.pairs())
    weight = torch.tensor([pair.weight for pair in records])
    length = TreeCollator(toy.processor()).encoder.response_ids
    loss, _ = preference_loss(
        policy_chosen_logps=toy.padded_logps(model, [(toy.image(p.image_key), p.prompt, p.chosen) for p in records]),
        policy_rejected_logps=toy.padded_logps(model, [(toy.image(p.image_key), p.prompt, p.rejected) for p in records]),
        ref_chosen_logps=torch.tensor([references[p.key].chosen for p in records]),
        ref_rejected_logps=torch.tensor([references[p.key].rejected for p in records]),
        num_tokens_chosen=torch.tensor([len(length(p.chosen)) for p in records]),
        num_tokens_rejected=torch.tensor([len(length(p.rejected)) for p in records]),
        confidence=torch.tensor([p.confidence for p in records]),
        answer_is_chosen=torch.tensor([p.answer_is_chosen for p in records]),
        **toy.LOSS,
    )
    return (weight * loss).sum() / weight.sum()
