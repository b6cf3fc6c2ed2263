"""Stage `sft`: supervised fine-tuning of the base on answers and refusals, under DeepSpeed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inbol.config.stages import SftStage
from inbol.contracts import SftExample
from inbol.stages.job import Job
from inbol.stages.training_parts import align, image_loader, read_all
from inbol.training.objectives import SftObjective


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`."""
    from trl import SFTConfig

    config: SftStage = job.config
    examples = read_all(job.inputs["sft_data"], SftExample)

    def objective(collator: Any) -> SftObjective:
        return SftObjective(examples, image_loader(job.inputs["vqa"]), collator, normalise=config.sft.normalise)

    return align(job, objective, SFTConfig, config.sft.optim, config.peft, config.deepspeed, Path(job.inputs["model"]), config.seed)
