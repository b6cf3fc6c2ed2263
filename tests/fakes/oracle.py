"""TRL's own trainers as oracles: their loss on given pairs, with the very token ids and pixels they were computed from.

A random LLaVA of 2 + 2 layers and width 32 with a tokenizer trained on the spot; no network, no training step. Every call works on
copies, because TRL replaces `forward` of the models it is given.

    world = tiny_world()
    oracle = trl_dpo(world, PAIRS, policy=world.model(0), reference=world.model(1), beta=0.5)
    oracle.loss, oracle.examples[0].prompt_ids, oracle.examples[0].chosen_ids, oracle.gradients
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from inbol.models.tiny import build_model, build_processor, build_tokenizer


@dataclass(frozen=True)
class Pair:
    """One preference on one image; texts without template or special tokens."""

    image: Image.Image
    prompt: str
    chosen: str
    rejected: str


def _image(seed: int) -> Image.Image:
    pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


PAIRS = (
    Pair(_image(0), "what color is the circle?", "blue", "I cannot tell from this picture."),
    Pair(_image(1), "is there a red shape?", "The image does not show that.", "yes"),
    Pair(_image(1), "what shape is in the image?", "a triangle", "circle"),
    Pair(_image(2), "who drew it?", "I do not know who drew it, nothing in the picture says so.", "red"),
)
"""Lengths from 2 to a dozen tokens on either side; the second and third share an image, so a prefix tree has something to share."""


@dataclass(frozen=True)
class World:
    """Processor and model shape that go together."""

    processor: LlavaProcessor

    def model(self, seed: int) -> LlavaForConditionalGeneration:
        """A freshly initialised model in eval mode; weights are scaled up, so that models of two seeds disagree about the answers."""
        model = build_model(
            self.processor.tokenizer, image_size=16, patch_size=8, hidden_size=32, vision_layers=2, text_layers=2, heads=2, seed=seed
        ).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
        return model


@dataclass(frozen=True)
class PairIds:
    """One pair as TRL tokenised it: no padding, image placeholders expanded, end-of-sequence on both responses."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    pixel_values: Tensor
    """[3, H, W]."""


@dataclass(frozen=True)
class ExampleIds:
    """One supervised example as TRL tokenised it."""

    prompt_ids: list[int]
    target_ids: list[int]
    pixel_values: Tensor


@dataclass(frozen=True)
class Oracle:
    """What a TRL trainer computed on one batch."""

    loss: float
    """The scalar TRL would train on: mean over pairs (DPO), mean over all response tokens (SFT)."""
    losses: list[float]
    """The same for every pair or example alone, each in a batch of one."""
    gradients: dict[str, Tensor]
    """d loss / d parameter by name, of the whole batch; parameters without a gradient are left out."""
    examples: list[Any]
    """`PairIds` or `ExampleIds`, in the order given."""
    metrics: dict[str, float]
    """TRL's logged metrics of the whole batch (`rewards/margins`, ...)."""


def tiny_world() -> World:
    """Tokenizer and processor for `PAIRS`, the template as LLaVA-1.5 has it: 4 image tokens for 16x16 pixels."""
    texts = [text for pair in PAIRS for text in (f"USER: {pair.prompt}", f" ASSISTANT: {pair.chosen}", f" ASSISTANT: {pair.rejected}")]
    return World(build_processor(build_tokenizer(texts, 320), image_size=16, patch_size=8))


def trl_dpo(
    world: World,
    pairs: tuple[Pair, ...],
    *,
    policy: LlavaForConditionalGeneration,
    reference: LlavaForConditionalGeneration,
    beta: float,
    read: Callable[[Any], list[Any]] | None = None,
    **config: Any,
) -> Oracle:
    """`trl.DPOTrainer`'s loss with `loss_type="sigmoid"`, or whatever `DPOConfig` fields `config` sets (`loss_type=["sigmoid", "sft"]`).

    `read` makes `Oracle.examples` of TRL's batch; without it they are LLaVA's `PairIds`.
    """
    from trl import DPOConfig, DPOTrainer

    rows = [
        {"images": [pair.image], "prompt": _turn("user", pair.prompt), "chosen": _turn("assistant", pair.chosen),
         "rejected": _turn("assistant", pair.rejected)}
        for pair in pairs
    ]  # fmt: skip
    trainer = DPOTrainer(
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        args=DPOConfig(beta=beta, **_arguments(len(pairs)), **config),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=world.processor,
    )
    return _ask(trainer, rows, read or _pair_ids)


def trl_sft(world: World, pairs: tuple[Pair, ...], *, policy: LlavaForConditionalGeneration, **config: Any) -> Oracle:
    """`trl.SFTTrainer`'s completion-only loss on `prompt` -> `chosen`."""
    from trl import SFTConfig, SFTTrainer

    rows = [{"images": [pair.image], "prompt": _turn("user", pair.prompt), "completion": _turn("assistant", pair.chosen)} for pair in pairs]
    trainer = SFTTrainer(
        model=copy.deepcopy(policy),
        args=SFTConfig(**_arguments(len(pairs)), **config),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=world.processor,
    )
    return _ask(trainer, rows, _example_ids)


def _turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _arguments(batch_size: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.gettempdir(),  # nothing is written: no step is taken
        "per_device_train_batch_size": batch_size,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_length": None,  # TRL would cut image tokens
        "report_to": [],
        "disable_tqdm": True,
    }


def _ask(trainer: Any, rows: list[dict[str, Any]], read_ids: Any) -> Oracle:
    def batch_of(some: list[dict[str, Any]]) -> Any:
        return trainer.data_collator(copy.deepcopy(some))  # TRL's collators change the examples they are given

    model = trainer.model.train()  # metrics are kept per mode; nothing here has dropout
    batch = batch_of(rows)
    examples = read_ids(batch)
    loss = trainer.compute_loss(model, dict(batch))
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    metrics = {name: float(values[-1]) for name, values in trainer._metrics["train"].items()}
    with torch.no_grad():
        losses = [trainer.compute_loss(model, dict(batch_of([row]))).item() for row in rows]
    return Oracle(loss=loss.item(), losses=losses, gradients=gradients, examples=examples, metrics=metrics)


def _parts(batch: Any, is_response: Tensor) -> list[tuple[list[int], list[int]]]:
    """Prompt and response ids of every row, padding dropped."""
    real = batch["attention_mask"].bool()
    return [
        (ids[keep & ~response].tolist(), ids[keep & response].tolist())
        for ids, keep, response in zip(batch["input_ids"], real, is_response, strict=True)
    ]


def _pair_ids(batch: Any) -> list[PairIds]:
    parts = _parts(batch, batch["completion_mask"].bool())
    half = len(parts) // 2  # TRL stacks all chosen above all rejected
    found = []
    for n in range(half):
        (prompt, chosen), (same_prompt, rejected) = parts[n], parts[half + n]
        assert prompt == same_prompt
        found.append(PairIds(prompt, chosen, rejected, batch["pixel_values"][n]))
    return found


def _example_ids(batch: Any) -> list[ExampleIds]:
    parts = _parts(batch, batch["labels"] != -100)
    return [ExampleIds(prompt, target, batch["pixel_values"][n]) for n, (prompt, target) in enumerate(parts)]
