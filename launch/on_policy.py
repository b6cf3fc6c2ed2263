"""The stages of on-policy training in a plan: from the SFT checkpoint, by a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inbol.config.rl import GrpoStage
from inbol.config.serving import JudgeConfig

if TYPE_CHECKING:
    from launch.plan import Node, Planner


def grpo(planner: Planner) -> Node:
    """On-policy training from the SFT checkpoint; who decides the outcomes of the table decides those that are rewarded."""
    run = planner.run
    judge = run.judge if run.judge.decides else JudgeConfig()
    stage = GrpoStage(grpo=run.grpo, judge=judge, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
    return planner.node("grpo", stage, {**planner.questions(), "model": planner.sft()})
