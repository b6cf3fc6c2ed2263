"""One optimiser step of a trainer, ours or TRL's, by the same lines; and the floor, the same model over the unique tokens alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.harness import take_turns
from bench.shapes import World
from inbol.models.load import add_lora, attention
from inbol.models.tree import Branch, ConversationEncoder
from inbol.shards.order import spread
from inbol.shards.schedule import Schedule
from inbol.training.stream import Objective, StepStream
from inbol.training.trainer import Budget, Sharding, StreamTrainer, trainer_arguments

LR = 1e-6
FOLDER = tempfile.TemporaryDirectory(prefix="bench-")
"""Trainers want a folder; nothing is written to it."""
LORA: dict[str, Any] = {
    "r": 16,
    "alpha": 32,
    "dropout": 0.0,
    "target_modules": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}


class Stepper:
    """Calls take `steps` optimiser steps: `Trainer`'s loop without its logging, checkpoints and progress bar."""

    def __init__(self, trainer: Any, steps: int = 1) -> None:
        self.trainer, self.steps = trainer, steps
        self.accumulation = trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
        trainer.create_optimizer()
        self.batches = _forever(trainer.get_train_dataloader)

    def __call__(self) -> None:
        trainer, model = self.trainer, self.trainer.model
        for _ in range(self.steps):
            batches, num_items = trainer.get_batch_samples(self.batches, self.accumulation, trainer.args.device)
            for batch in batches:
                trainer.training_step(model, batch, num_items)
            _update(model, trainer.optimizer)


def _forever(loader: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield from loader()


def _update(model: Any, optimizer: Any) -> None:
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    model.zero_grad()


def fastest(make: Callable[[int], Callable[[], object]], candidates: Sequence[int], clock: str) -> tuple[int, Any]:
    """(the micro-batch whose step takes least, that step): one step to warm up, the best of four more, by one of `harness.CLOCKS`."""
    made = {str(micro): make(micro) for micro in candidates}
    turns = take_turns(made, 4, clock)
    best = min(made, key=lambda micro: min(turn[micro] for turn in turns))
    return int(best), made[best]


def divisors(number: int, *, largest: int) -> list[int]:
    """Micro-batches worth trying: the three largest divisors of `number` that are not above `largest`, and 1, which pads nothing."""
    found = [n for n in range(largest, 0, -1) if number % n == 0]
    return sorted({*found[:3], 1}, reverse=True)


def with_lora(model: Any) -> Any:
    """Adapters as the stages add them, moved off zero, so that policy and reference differ."""
    adapted = add_lora(model, **LORA)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return adapted


def as_loaded(model: Any) -> Any:
    """The model with the attention that `load_model` gives it."""
    model.set_attn_implementation(attention(model.dtype))
    return model


def our_trainer(objective: Objective, model: Any, world: World, config_class: type, micro: int, **more: Any) -> StreamTrainer:
    """The training stages' trainer; one process, no DeepSpeed, as on the other side. `micro` counts images."""
    layout = spread(world.shape.step, 1, micro)
    budget = Budget(
        lr=LR, epochs=1.0, global_batch=world.shape.step, micro_batch=micro, warmup_share=0.0, weight_decay=0.0, max_grad_norm=1.0,
        save_steps=10**6, log_steps=10**6,
    )  # fmt: skip
    arguments = trainer_arguments(
        config_class,
        folder=Path(FOLDER.name),
        budget=budget,
        layout=layout,
        sharding=Sharding(zero_stage=0, precision="fp32", offload_optimizer=False, gradient_checkpointing=False),
        max_steps=10**6,
        seed=0,
        deepspeed={},
        **more,
    )
    schedule = Schedule(samples=objective.size, global_batch=layout.global_batch, seed=0)
    stream = StepStream(objective, layout, rank=0, schedule=schedule)
    return StreamTrainer(stream=stream, model=as_loaded(model), args=arguments, processing_class=world.processor)


def trl_arguments(config_class: type, world: World, micro: int, **more: Any) -> Any:
    """TRL's configuration; `micro` counts pairs or examples. What is not named here is TRL's default."""
    return config_class(
        output_dir=FOLDER.name,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=world.shape.step * world.shape.questions // micro,
        learning_rate=LR,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,  # recomputing costs time, and memory is no matter here
        max_length=None,  # the default cuts image tokens
        report_to="none",
        disable_tqdm=True,
        **more,
    )


def trl_dataset(world: World, rows: list[dict[str, Any]]) -> datasets.Dataset:
    """Rows of texts as conversations with their pictures, encoded as on disk; `image_key` names the picture, the rest are turns."""
    columns = [name for name in rows[0] if name != "image_key"]
    turned = [
        {name: [{"role": "user" if name == "prompt" else "assistant", "content": row[name]}] for name in columns}
        | {"images": [{"bytes": world.pictures[int(row["image_key"])], "path": None}]}
        for row in rows
    ]
    return datasets.Dataset.from_list(turned).cast_column("images", datasets.List(datasets.Image()))


class Floor:
    """Calls take one optimiser step over the unique tokens: an image's row is the image, each question and each response once, under
    plain causal attention, without padding, with logits at response positions alone. What the model computes on such a row is of no use;
    what it costs is what a tree should cost. Rows within 5% of each other's length are one batch; inputs are ready before the clock
    starts."""

    def __init__(self, model: Any, world: World, images: Sequence[tuple[int, tuple[Branch, ...]]], optimizer: bool = True) -> None:
        self.model = model.get_base_model() if hasattr(model, "peft_config") else model
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=LR, fused=True) if optimizer else None
        encoder = ConversationEncoder(world.processor)
        rows = sorted((_flat(encoder, world, image, branches) for image, branches in images), key=lambda row: -len(row.ids))
        groups: list[list[_Flat]] = []
        for row in rows:
            if not groups or len(row.ids) < 0.95 * len(groups[-1][0].ids):
                groups.append([])
            groups[-1].append(row)
        self.batches = [_stack(group) for group in groups]

    def loss(self, ids: Tensor, pixels: Tensor, where: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood of `targets` [N] read at positions `where` [N] of the flattened rows `ids` [B, T]."""
        hidden = self.model.model(input_ids=ids, pixel_values=pixels, use_cache=False).last_hidden_state
        return F.cross_entropy(self.model.lm_head(hidden.flatten(0, 1)[where]), targets, reduction="sum")

    def __call__(self) -> None:
        if self.optimizer is None:
            with torch.inference_mode():
                for batch in self.batches:
                    self.loss(*batch)
            return
        for batch in self.batches:
            self.loss(*batch).backward()
        _update(self.model, self.optimizer)


@dataclass(frozen=True)
class _Flat:
    ids: list[int]
    pixels: Tensor
    where: list[int]
    """Positions that predict a response token."""
    targets: list[int]
    """The tokens they predict."""


def _flat(encoder: ConversationEncoder, world: World, image: int, branches: tuple[Branch, ...]) -> _Flat:
    """The image, each question, each response, once."""
    text = encoder.render(branches[0].prompt)
    encoded = world.processor(text=[text], images=[world.load_image(str(image))], add_special_tokens=False, return_tensors="pt")
    prompt = encoded["input_ids"][0].tolist()
    ids, where, targets = prompt[: len(prompt) - len(encoder.suffix_ids(branches[0].prompt))], [], []
    for branch in branches:
        ids += encoder.suffix_ids(branch.prompt)
        end = len(ids) - 1
        for response in branch.responses:
            tokens = encoder.response_ids(response)
            where += [end, *range(len(ids), len(ids) + len(tokens) - 1)]
            targets += tokens
            ids += tokens[:-1]
    return _Flat(ids, encoded["pixel_values"][0], where, targets)


def _stack(rows: list[_Flat]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows to the length of the first, the longest; what stands behind a shorter one's end is seen by nothing that is read."""
    length = len(rows[0].ids)
    ids = torch.tensor([row.ids + [row.ids[-1]] * (length - len(row.ids)) for row in rows])
    where = torch.tensor([n * length + position for n, row in enumerate(rows) for position in row.where])
    return ids, torch.stack([row.pixels for row in rows]), where, torch.tensor([token for row in rows for token in row.targets])
