"""Stage `grpo`: on-policy training of a checkpoint that can refuse, by TRL's `GRPOTrainer` under DeepSpeed.

The questions are those of `align-train` and, beyond the images, of the stage `unsolvable`. Nothing is saved before the end: a stage that
was stopped trains from its first step again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from inbol.config.rl import GrpoStage
from inbol.contracts import Question
from inbol.models.reward import RewardScorer
from inbol.shards.reader import shard_names
from inbol.stages.features import prompts
from inbol.stages.grading import ByJudge, ModelReward, OutcomeReward, by_rules
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.stages.questions import questions_of
from inbol.stages.training_parts import finish_training, finished, prepare, sharding
from inbol.training.grpo import GrpoBudget, train_grpo
from inbol.training.images import Images


def run(job: Job) -> dict[str, Any]:
    """Write `checkpoint/`."""
    if (facts := finished(job)) is not None:
        return facts
    config: GrpoStage = job.config
    grpo = config.grpo
    start = prepare(job, None, config.peft, config.deepspeed)
    images = Images(job.inputs["vqa"])
    asked = questions(job, grpo.of)
    reward = reward_of(job, config, images, asked)
    trainer, facts = train_grpo(
        start.model,
        start.processor,
        list(asked),
        images,
        reward,
        folder=job.out / "trainer",
        budget=GrpoBudget(**{field.name: getattr(grpo, field.name) for field in fields(GrpoBudget)}),
        sharding=sharding(config.deepspeed),
        seed=config.seed,
        world_size=start.world_size,
        report=Progress(job),
        track=start.tracker.log,
        prompt=asked.__getitem__,
    )
    facts["unjudged_by_this_rank"] = reward.unjudged
    facts = finish_training(job, trainer, start, facts)
    if start.rank == 0:
        shutil.rmtree(job.out / "checkpoint" / "ref", ignore_errors=True)  # with LoRA, TRL's copy of the adapter it began from
    return facts


def reward_of(job: Job, config: GrpoStage, images: Images, asked: Mapping[Question, str]) -> OutcomeReward | ModelReward:
    """What the responses are rewarded by. `asked`: what is asked for each question, which a reward model is shown too."""
    if config.grpo.reward == "model":
        return ModelReward(RewardScorer(job.inputs["reward"], images, prompt=asked.__getitem__))
    grade = ByJudge(job, config.judge) if config.judge.kind != "rules" else by_rules
    return OutcomeReward(grade, asdict(config.grpo.values))


def questions(job: Job, of: str) -> dict[Question, str]:
    """All questions of `align-train` that `of` names, in the order of the shards, each with what is asked."""
    found: dict[Question, str] = {}
    for name in shard_names(job.inputs["vqa"], ["align-train"]):
        there = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
        shown = prompts(job, name, there)
        found |= {there[key]: shown[key] for key in there if of == "all" or there[key].answerable == (of == "answerable")}
    return found
