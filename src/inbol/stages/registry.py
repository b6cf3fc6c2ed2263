"""The stages by name: what they are configured with, how they run in parallel, and the version of their code.

Light on purpose: the launcher reads it to plan, without importing torch. Raise a stage's `version` whenever its output changes for the same
configuration; every folder that depends on it is then made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inbol.config import benchmarks, features, rl, serving
from inbol.config import stages as config

Parallel = Literal["inline", "shards", "ranks"]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """How a stage is run. Its code is `inbol.stages.<name>:run`."""

    config: type
    """Its configuration dataclass, from `inbol.config.stages`."""
    parallel: Parallel
    """`inline`: in the launcher's own process, no torch. `shards`: independent processes, each takes every n-th shard.
    `ranks`: one collective job under the DeepSpeed launcher."""
    version: int


STAGES: dict[str, StageSpec] = {
    "ingest": StageSpec(config.IngestStage, "inline", 2),
    "unsolvable": StageSpec(config.UnsolvableStage, "inline", 1),
    "base": StageSpec(config.BaseStage, "ranks", 1),
    "sample": StageSpec(config.SampleStage, "shards", 1),
    "confidence": StageSpec(config.ConfidenceStage, "inline", 1),
    "probe": StageSpec(config.ProbeStage, "shards", 1),
    "estimate": StageSpec(config.EstimateStage, "inline", 1),
    "boundary": StageSpec(config.BoundaryStage, "inline", 1),
    "feature_data": StageSpec(features.FeatureDataStage, "inline", 1),
    "features": StageSpec(features.FeaturesStage, "inline", 1),
    "sft_data": StageSpec(config.SftDataStage, "inline", 1),
    "sft": StageSpec(config.SftStage, "ranks", 1),
    "pairs": StageSpec(config.PairsStage, "inline", 1),
    "reference": StageSpec(config.ReferenceStage, "shards", 1),
    "dpo": StageSpec(config.DpoStage, "ranks", 1),
    "reward": StageSpec(rl.RewardStage, "ranks", 1),
    "grpo": StageSpec(rl.GrpoStage, "ranks", 1),
    "predict": StageSpec(config.PredictStage, "shards", 2),
    "refusal_logps": StageSpec(config.RefusalLogpsStage, "shards", 1),
    "calibrate": StageSpec(config.CalibrateStage, "inline", 1),
    "score": StageSpec(config.ScoreStage, "inline", 1),
    "benchmark_data": StageSpec(benchmarks.BenchmarkDataStage, "inline", 1),
    "benchmark_score": StageSpec(benchmarks.BenchmarkScoreStage, "inline", 1),
    "judge": StageSpec(serving.JudgeStage, "inline", 1),
    "report": StageSpec(config.ReportStage, "inline", 1),
}
