"""Stage `sft`: supervised fine-tuning of the base on answers and refusals, under DeepSpeed."""

from __future__ import annotations

from typing import Any

from inbol.config.stages import SftStage
from inbol.contracts import SftExample
from inbol.shards.files import read_records
from inbol.shards.reader import read_shard, shard_names
from inbol.stages.job import Job
from inbol.stages.training_parts import finish_training, finished, honesty_probe, lengths, prepare, read_all, settings, training_images
from inbol.training.honesty import ProbeItem, items_of_examples
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
    items = probe_items(job, optim.probe_items) if optim.probe_steps else []
    probe = honesty_probe(items, images, start, optim) if items else None
    how = settings(job, start, optim, config.deepspeed)
    trainer, facts = train(objective, start.model, start.processor, config_class=SFTConfig, seed=config.seed, probe=probe, **how)
    return finish_training(job, trainer, start, facts)


def probe_items(job: Job, per_group: int) -> list[ProbeItem]:
    """Questions to look at while training, from the first shard."""
    name = shard_names(job.inputs["vqa"], ["align-train"])[0]
    questions = {question.key: question for sample in read_shard(job.inputs["vqa"], name) for question in sample.questions}
    examples = read_records(job.inputs["sft_data"] / f"{name}.jsonl", SftExample)
    return items_of_examples(examples, {key: question for key, question in questions.items() if question.answerable}, per_group)
