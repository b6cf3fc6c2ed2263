"""The stages of on-policy training in a plan: from the SFT checkpoint, by outcomes or by a reward model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inbol.config.rl import GrpoStage, RewardStage
from inbol.config.serving import JudgeConfig
from launch import features

if TYPE_CHECKING:
    from launch.plan import Node, _Planner


def grpo(planner: _Planner) -> Node:
    """On-policy training from the SFT checkpoint. By outcomes: who decides those of the table decides those that are rewarded."""
    run, by_model = planner.run, planner.run.grpo.reward == "model"
    judge = run.judge if run.judge.decides and not by_model else JudgeConfig()
    stage = GrpoStage(grpo=run.grpo, judge=judge, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
    scored = {"reward": reward(planner)} if by_model else {}
    return planner.node("grpo", stage, {**planner.questions(), **scored, **features.measured(planner), "model": planner.sft()})


def reward(planner: _Planner) -> Node:
    """A reward model, begun from the SFT checkpoint."""
    run = planner.run
    stage = RewardStage(reward=run.reward, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
    return planner.node("reward", stage, {"vqa": planner.vqa(), "pairs": planner.pairs(), "model": planner.sft()})
