"""Stage `sft`: supervised fine-tuning of the base on answers and refusals, under DeepSpeed."""

from __future__ import annotations

from typing import Any

from inbol.config.stages import SftStage
from inbol.contracts import SftExample
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.stages.training_parts import budget, finish_training, finished, lengths, prepare, read_all, sharding, training_images
from inbol.training.objectives import SftObjective
from inbol.training.trainer import train


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`."""
    from trl import SFTConfig

    if (facts := finished(job)) is not None:
        return facts
    config: SftStage = job.config
    start = prepare(job, config.sft.optim, config.peft, config.deepspeed)
    examples = read_all(job.inputs["sft_data"], SftExample)
    optim, images = config.sft.optim, training_images(job, config.sft.optim)
    objective = SftObjective(examples, images, start.collator, normalise=config.sft.normalise, group_by_image=optim.group_by_image)
    start.facts.update(lengths(objective.groups, objective.name, images, start, optim))
    trainer, facts = train(
        objective,
        start.model,
        start.processor,
        config_class=SFTConfig,
        folder=job.out / "trainer",
        budget=budget(optim),
        sharding=sharding(config.deepspeed),
        seed=config.seed,
        rank=start.rank,
        world_size=start.world_size,
        report=Progress(job),
        track=start.tracker.log,
        replay=start.tracker.cut_off,
    )
    return finish_training(job, trainer, start, facts)
