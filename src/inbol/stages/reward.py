"""Stage `reward`: a reward model from preference pairs, begun from the SFT checkpoint, under DeepSpeed."""

from __future__ import annotations

from typing import Any

from inbol.config.rl import RewardStage
from inbol.contracts import PreferencePair
from inbol.models.reward import add_reward_head
from inbol.stages.job import Job
from inbol.stages.training_parts import finish_training, finished, lengths, prepare, read_all, settings, training_images
from inbol.training.objectives import PairTrees
from inbol.training.reward import RewardObjective, take_head
from inbol.training.trainer import train


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/` and, before it, `reward_head.safetensors`."""
    from trl import SFTConfig

    if (facts := finished(job)) is not None:
        return facts
    config: RewardStage = job.config
    optim = config.reward.optim
    start = prepare(job, optim, config.peft, config.deepspeed)
    add_reward_head(start.model)
    images = training_images(job, optim)
    pairs = read_all(job.inputs["pairs"], PreferencePair)
    objective = RewardObjective(PairTrees(pairs, images, start.collator, group_by_image=optim.group_by_image), loss=config.reward.loss)
    start.facts.update(lengths(objective.trees.groups, objective.name, images, start, optim))
    factors = {"reward_head": config.reward.head_lr_factor}
    how = settings(job, start, optim, config.deepspeed)
    trainer, facts = train(objective, start.model, start.processor, config_class=SFTConfig, seed=config.seed, lr_factors=factors, **how)
    take_head(trainer, start.model, job.out, config.deepspeed.zero_stage)
    return finish_training(job, trainer, start, facts)
