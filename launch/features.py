"""The stages that put confidence and entropy into the prompt in a plan (`features: true`, UAlign)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inbol.config import stages as config
from inbol.config.features import TOKENS, FeatureDataStage, FeaturesStage
from inbol.config.run import is_trained

if TYPE_CHECKING:
    from launch.plan import Node, _Planner

SPLITS = ("align-train", "align-val")


def measured(planner: _Planner) -> dict[str, Node]:
    """The features that sampling found about `align-train`, by role; none where prompts have none."""
    run = planner.run
    if not run.features:
        return {}
    stage = FeaturesStage(split="align-train", samples=run.sampling.k)
    inputs = {**planner.questions(), "confidence": planner.confidence(SPLITS)}
    return {"features": planner.node("features", stage, inputs, mark="measured")}


def predicted(planner: _Planner, row: str, split: str) -> dict[str, Node]:
    """The features that are predicted of a split, by role; none for rows that are not trained."""
    run = planner.run
    if not run.features or not is_trained(row):
        return {}
    stage = config.PredictStage(predict=replace(run.predict, max_new_tokens=TOKENS), split=split, prompt="plain")
    said = planner.node("predict", stage, {**planner.questions(), "model": predictor(planner)}, mark=f"features,{split}")
    read = FeaturesStage(split=split, samples=run.sampling.k)
    return {"features": planner.node("features", read, {**planner.questions(), "predictions": said}, mark=split)}


def predictor(planner: _Planner) -> Node:
    """The base, taught to say the features that were measured about `align-train`."""
    run = planner.run
    inputs = {**planner.questions(), "confidence": planner.confidence(SPLITS)}
    data = planner.node("feature_data", FeatureDataStage(), inputs)
    sft = replace(run.sft, optim=replace(run.sft.optim, probe_steps=0))
    stage = config.SftStage(sft=sft, peft=run.peft, deepspeed=run.deepspeed, seed=run.seed)
    return planner.node("sft", stage, {"vqa": planner.vqa(), "sft_data": data, "model": planner.base()}, mark="features")
