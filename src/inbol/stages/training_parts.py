"""What the training stages share: typed configuration to plain arguments, images by key, the tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from inbol.config.training import DeepSpeedConfig, OptimConfig, PeftConfig
from inbol.models.load import add_lora, freeze_vision_tower, load_model, load_processor
from inbol.models.tree import TreeCollator
from inbol.shards.files import read_records
from inbol.shards.images import decode_image
from inbol.shards.reader import ImageStore
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.tracking import Tracker, open_tracker
from inbol.training.checkpoints import export
from inbol.training.engine import start_ranks
from inbol.training.run import Budget, Sharding, train
from inbol.training.stream import Objective

T = TypeVar("T")


def budget(optim: OptimConfig) -> Budget:
    """`OptimConfig` as plain arguments."""
    return Budget(**asdict(optim))


def sharding(deepspeed: DeepSpeedConfig) -> Sharding:
    """`DeepSpeedConfig` as plain arguments."""
    return Sharding(**asdict(deepspeed))


def image_loader(vqa: Path) -> Callable[[str], Image.Image]:
    """Image key -> decoded image."""
    store = ImageStore(vqa)
    return lambda key: decode_image(store[key])


def stage_tracker(job: Job, rank: int) -> Tracker:
    """The tracker of a training stage, on rank 0; a null object elsewhere."""
    kind = job.tracker.kind if rank == 0 else "none"
    return open_tracker(
        kind,
        project=job.tracker.project,
        run_name=f"{job.run_name}/{job.stage}" if job.run_name else job.stage,
        group=job.run_name or "stages",
        config=asdict(job.config),
        folder=job.out / "tracker",
    )


def rank_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Manifest facts with the JSON-able part of the last logged line."""
    return {**facts, "last": {name: value for name, value in facts["last"].items() if isinstance(value, int | float)}}


def read_all(folder: Path, record: type[T]) -> list[T]:
    """The records of every shard of a stage, in shard order."""
    return [r for path in sorted(folder.glob("*-*.jsonl")) for r in read_records(path, record)]


def align(
    job: Job,
    objective: Callable[[TreeCollator], Objective],
    config_class: type,
    optim: OptimConfig,
    peft: PeftConfig,
    deepspeed: DeepSpeedConfig,
    start: Path,
    seed: int,
    **more: Any,
) -> dict[str, Any]:
    """Train `start`'s checkpoint on an objective and write `checkpoint/`; the body of `sft` and `dpo`. `start` is a stage folder."""
    if (job.out / "checkpoint").exists():
        return {}
    rank, world_size = start_ranks()
    checkpoint = start / "checkpoint"
    processor = load_processor(checkpoint)
    model = load_model(checkpoint)
    frozen = freeze_vision_tower(model) if peft.freeze_vision_tower else 0
    if peft.kind == "lora":
        model = add_lora(model, r=peft.r, alpha=peft.alpha, dropout=peft.dropout, target_modules=peft.target_modules)
    tracker = stage_tracker(job, rank)
    trainer, facts = train(
        objective(TreeCollator(processor)),
        model,
        processor,
        config_class=config_class,
        folder=job.out / "trainer",
        budget=budget(optim),
        sharding=sharding(deepspeed),
        seed=seed,
        rank=rank,
        world_size=world_size,
        report=Progress(job),
        track=tracker.log,
        **more,
    )
    export(trainer, processor, job.out / "checkpoint", base=str(checkpoint) if peft.kind == "lora" else None)
    tracker.finish()
    return rank_facts({**facts, "peft": peft.kind, "frozen_parameters": frozen})
