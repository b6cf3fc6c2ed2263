"""One rank of test_memory.py: `memory_script.py OUT '{"zero_stage": 2, ...}'` trains a LLaVA of thirty million parameters, and writes to
OUT/<rank>.json what it took: the highest resident memory, less that behind a run of a tiny model, which loads and warms up all libraries.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from trl import SFTConfig

from inbol.contracts import SftExample
from inbol.models.load import add_lora, freeze_vision_tower
from inbol.models.tiny import build_model, build_processor, build_tokenizer
from inbol.models.tree import TreeBatch, TreeCollator
from inbol.training.engine import start_ranks
from inbol.training.objectives import SftObjective
from inbol.training.stream import Visit
from inbol.training.trainer import Budget, Sharding, train

IMAGES, QUESTIONS, RESPONSES, STEPS = 8, 12, 2, 2
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run is to be, and the defaults of the test."""

    hidden_size: int = 512
    vision_layers: int = 4
    text_layers: int = 8
    heads: int = 8
    vocab_size: int = 1200
    zero_stage: int = 0
    gradient_checkpointing: bool = False
    micro_batch: int = 2
    global_batch: int = 8
    lora: bool = False
    precision: str = "fp32"


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def examples() -> list[SftExample]:
    words = ["red", "green", "blue", "white", "black", "gray", "circle", "square", "left", "right", "above", "below"]
    return [
        SftExample(
            key=f"{image}-q{q}-{r}", image_key=str(image), prompt=f"is the {words[q % 12]} shape {words[(q + image) % 12]} of it?",
            target=f"it is {words[(q + r) % 12]} and no other", weight=1.0, role="answer",
        )
        for image in range(IMAGES) for q in range(QUESTIONS) for r in range(RESPONSES)
    ]  # fmt: skip


def picture(key: str) -> Image.Image:
    return Image.fromarray(np.random.default_rng(int(key)).integers(0, 255, (64, 64, 3), dtype=np.uint8))


def tiny_llava(spec: Measured) -> tuple[Any, TreeCollator]:
    """The model, its tower frozen, and what lays out its batches."""
    texts = [f"USER: {e.prompt} ASSISTANT: {e.target} {i} {i * i} {i**3}" for i, e in enumerate(examples())]
    processor = build_processor(build_tokenizer(texts, spec.vocab_size), image_size=64, patch_size=8)
    model: Any = build_model(
        processor.tokenizer, image_size=64, patch_size=8, hidden_size=spec.hidden_size, vision_layers=spec.vision_layers,
        text_layers=spec.text_layers, heads=spec.heads, seed=0,
    )  # fmt: skip
    model = model.to(torch.bfloat16 if spec.precision == "bf16" else torch.float32)
    freeze_vision_tower(model)
    return model, TreeCollator(processor)


def micro_batch(collator: TreeCollator, trees: int) -> TreeBatch:
    """The first `trees` trees; all have the same lengths."""
    return SftObjective(examples(), picture, collator).collate([Visit(i, 0, True) for i in range(trees)]).trees


def run(spec: Measured, folder: Path, rank: int, world_size: int) -> dict[str, Any]:
    """Train for `STEPS` steps; all ranks in one folder."""
    model, collator = tiny_llava(spec)
    if spec.lora:
        model = add_lora(model, r=16, alpha=32, dropout=0.0, target_modules=TARGETS)
    counts = {  # before ZeRO-3 takes the parameters away
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    train(
        SftObjective(examples(), picture, collator), model, collator.processor, config_class=SFTConfig, folder=folder,
        budget=Budget(
            lr=1e-4, epochs=STEPS * spec.global_batch / IMAGES, global_batch=spec.global_batch, micro_batch=spec.micro_batch,
            warmup_share=0.0, weight_decay=0.0, max_grad_norm=1.0, save_steps=1000, log_steps=1,
        ),
        sharding=Sharding(
            zero_stage=spec.zero_stage, precision=spec.precision, offload_optimizer=False,
            gradient_checkpointing=spec.gradient_checkpointing,
        ),
        seed=0, rank=rank, world_size=world_size, report=lambda *_: None, save_strategy="no",
    )  # fmt: skip
    return counts


def main() -> None:
    out, spec = Path(sys.argv[1]), Measured(**json.loads(sys.argv[2]))
    rank, world_size = start_ranks()
    stage = min(spec.zero_stage, 2)  # a run under ZeRO-3 would change how the next model is built
    run(replace(spec, hidden_size=32, vision_layers=1, text_layers=1, heads=2, zero_stage=stage), out / "warm-up", rank, world_size)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory counts from here
    before = status("VmRSS")
    facts = run(spec, out / "trainer", rank, world_size)
    (out / f"{rank}.json").write_text(json.dumps({**facts, "bytes": status("VmHWM") - before}))


if __name__ == "__main__":
    main()
