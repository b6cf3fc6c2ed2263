"""What the training stages share: typed configuration to plain arguments, images by key, the tracker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from inbol import interrupt
from inbol.config.training import DeepSpeedConfig, OptimConfig, PeftConfig
from inbol.models.load import add_lora, freeze_vision_tower, load_model, load_processor
from inbol.models.tree import TreeCollator
from inbol.shards.files import read_records, write_text
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.text.refusals import LEADING
from inbol.tracking import Tracker, open_tracker
from inbol.training.checkpoints import export
from inbol.training.engine import start_ranks
from inbol.training.honesty import HonestyProbe, ProbeItem
from inbol.training.images import Images
from inbol.training.lengths import check_lengths
from inbol.training.objectives import paths_of
from inbol.training.trainer import Budget, Sharding

T = TypeVar("T")


def budget(optim: OptimConfig) -> Budget:
    """`OptimConfig` as plain arguments."""
    return Budget(**{field.name: getattr(optim, field.name) for field in fields(Budget)})


def sharding(deepspeed: DeepSpeedConfig) -> Sharding:
    """`DeepSpeedConfig` as plain arguments."""
    return Sharding(**asdict(deepspeed))


def training_images(job: Job, optim: OptimConfig) -> Images:
    """The images of a training; those that cannot be read are set aside where some are tolerated."""
    return Images(job.inputs["vqa"], quarantine=job.out / f"quarantine-{job.rank}.jsonl" if optim.max_bad_share else None)


def lengths(
    groups: Sequence[Sequence[Any]], name: Callable[[int], str], images: Images, start: Start, optim: OptimConfig
) -> dict[str, Any]:
    """Facts about the longest trees. Raises ValueError, on all ranks, for what the model or `optim.tree_tokens` has no room for."""
    positions = getattr(start.model.config.get_text_config(), "max_position_embeddings", None)
    return check_lengths(paths_of(groups, name), images.size, start.collator, tree_tokens=optim.tree_tokens, positions=positions)


class StageTracker:
    """A tracker that knows whether an earlier start was cut off: its service may not have written all that it was given."""

    def __init__(self, tracker: Tracker, mark: Path | None) -> None:
        """`mark`: a file that is there while the tracker is open; None for a tracker that keeps nothing."""
        self.tracker, self.mark = tracker, mark
        self.cut_off = mark is not None and mark.exists()
        if mark:
            mark.touch()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self.tracker.log(metrics, step)

    def finish(self) -> None:
        """See `Tracker`."""
        self.tracker.finish()
        if self.mark:
            self.mark.unlink(missing_ok=True)


def stage_tracker(job: Job, rank: int) -> StageTracker:
    """The tracker of a training stage, on rank 0; a null object elsewhere. It is closed, too, when the stage is told to stop."""
    kind = job.tracker.kind if rank == 0 else "none"
    folder = job.out / "tracker"
    opened = open_tracker(
        kind,
        project=job.tracker.project,
        run_name=f"{job.run_name}/{job.stage}" if job.run_name else job.stage,
        group=job.run_name or "stages",
        config=job.described() if kind != "none" else {},
        folder=folder,
    )
    tracker = StageTracker(opened, folder / "open" if kind != "none" else None)
    interrupt.before_end(tracker.finish)
    return tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a training begins with: the process group has been joined, the model is there."""

    model: Any
    processor: Any
    collator: TreeCollator
    rank: int
    world_size: int
    tracker: StageTracker
    facts: dict[str, Any]
    """For the manifest."""
    parent: Path | None = None
    """The checkpoint that training began from, whose processor the new one gets as it is."""
    merge_into: str | None = None
    """With LoRA, the checkpoint that the adapters are merged into at the end."""


def prepare(job: Job, optim: OptimConfig | None, peft: PeftConfig, deepspeed: DeepSpeedConfig) -> Start:
    """Join the ranks and load the parent's checkpoint (role `model`), frozen and adapted as configured. `optim`: None for no packing."""
    rank, world_size = start_ranks()
    checkpoint = job.inputs["model"] / "checkpoint"
    processor = load_processor(checkpoint)
    model = load_model(checkpoint, dtype=torch.bfloat16 if deepspeed.precision == "bf16" else torch.float32)
    frozen = freeze_vision_tower(model) if peft.freeze_vision_tower else 0
    if peft.kind == "lora":
        model = add_lora(model, r=peft.r, alpha=peft.alpha, dropout=peft.dropout, target_modules=peft.target_modules)
    return Start(
        model=model,
        processor=processor,
        collator=TreeCollator(processor, row_tokens=optim.row_tokens if optim else 0, always_image=True),
        rank=rank,
        world_size=world_size,
        tracker=stage_tracker(job, rank),
        parent=checkpoint,
        merge_into=str(checkpoint) if peft.kind == "lora" else None,
        facts={"peft": peft.kind, "frozen_parameters": frozen},
    )


def settings(job: Job, start: Start, optim: OptimConfig, deepspeed: DeepSpeedConfig) -> dict[str, Any]:
    """What `train` is given by every stage that begins from a checkpoint: how long and on what, and who is told."""
    return {
        "folder": job.out / "trainer",
        "budget": budget(optim),
        "sharding": sharding(deepspeed),
        "rank": start.rank,
        "world_size": start.world_size,
        "report": Progress(job),
        "track": start.tracker.log,
        "replay": start.tracker.cut_off,
    }


def finish_training(job: Job, trainer: Any, start: Start, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the curve, this rank's facts and then `checkpoint/`; returns the facts. Called by all ranks."""
    facts = {**facts, **start.facts}
    write_text(job.out / f"training-{start.rank}.json", json.dumps(facts))
    if start.rank == 0:
        write_text(job.out / "log_history.json", json.dumps(trainer.state.log_history))
    export(trainer, start.parent or start.processor, job.out / "checkpoint", base=start.merge_into)
    if start.rank == 0:
        shutil.rmtree(job.out / "trainer", ignore_errors=True)  # checkpoints to resume from: many times the model, needed no more
    start.tracker.finish()
    return facts


def finished(job: Job) -> dict[str, Any] | None:
    """The facts of a training that had exported its checkpoint when the run was stopped, or None."""
    facts = job.out / f"training-{job.rank}.json"
    if not (job.out / "checkpoint").exists():
        return None
    return dict(json.loads(facts.read_text())) if facts.exists() else {}


def honesty_probe(items: Sequence[ProbeItem], images: Images, start: Start, optim: OptimConfig) -> HonestyProbe:
    """The probe of a training, configured."""
    return HonestyProbe(items, images, start.collator, refusals=LEADING, every=optim.probe_steps, trees_per_batch=optim.micro_batch)


def read_all(folder: Path, record: type[T]) -> list[T]:
    """The records of every shard of a stage, in shard order."""
    return [r for path in sorted(folder.glob("*-*.jsonl")) for r in read_records(path, record)]
