"""What each stage is given: one dataclass a stage, holding exactly the values its output depends on, so that its hash names its folder."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.data import (
    BoundaryConfig,
    PairsConfig,
    PredictConfig,
    SamplingConfig,
    ScoreConfig,
    SftDataConfig,
    SourceConfig,
    UnsolvableConfig,
)
from inbol.config.identity import added, working
from inbol.config.risk import RiskConfig
from inbol.config.training import BaseConfig, DeepSpeedConfig, DpoConfig, PeftConfig, SftConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestStage:
    """`ingest`: raw source -> `vqa/` shards."""

    source: SourceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsolvableStage:
    """`unsolvable`: questions beyond the image, for every split but `pretrain`."""

    unsolvable: UnsolvableConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseStage:
    """`base`: the model that is to learn its boundaries."""

    base: BaseConfig
    deepspeed: DeepSpeedConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStage:
    """`sample`: K responses per question of these splits."""

    sampling: SamplingConfig
    splits: tuple[str, ...]
    seed: int
    boundary: BoundaryConfig | None = None
    """What the labels depend on, with `sampling.stop=label`; None otherwise, so that another tau samples nothing anew."""

    def __post_init__(self) -> None:
        if (self.boundary is None) != (self.sampling.stop == "never"):
            raise ValueError(f"boundary: sampling.stop={self.sampling.stop!r} needs {'no' if self.boundary else 'a'} boundary")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceStage:
    """`confidence`: one number per estimator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStage:
    """`probe`: what estimators ask the model beyond its samples."""

    asks: tuple[str, ...]
    """Names, in the order of asking (`probing/estimators/registry.py`)."""
    splits: tuple[str, ...]
    samples: int
    """K."""
    answer_tokens: int
    """Longest answer, end-of-sequence included."""
    explanations: int = 0
    """As in `ConfidenceConfig`; 0 where nothing is explained, so that another value asks nothing anew."""
    explanation_tokens: int = 0
    """Likewise."""
    entailment: str = ""
    """As in `ConfidenceConfig`."""
    trees_per_batch: int = working(8)
    """Images asked together."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateStage:
    """`estimate`: scores of single estimators, without a model."""

    estimators: tuple[str, ...]
    ridge: float = 0.0
    """As in `ConfidenceConfig`; 0 where nothing is trained."""
    folds: int = 0
    """Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryStage:
    """`boundary`: known, unknown or beyond the image."""

    boundary: BoundaryConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SftDataStage:
    """`sft_data`: targets and weights from labels."""

    sft_data: SftDataConfig
    boundary: BoundaryConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SftStage:
    """`sft`: supervised fine-tuning from the base."""

    sft: SftConfig
    peft: PeftConfig
    deepspeed: DeepSpeedConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsStage:
    """`pairs`: refusal/answer preferences."""

    pairs: PairsConfig
    boundary: BoundaryConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceStage:
    """`reference`: log-probabilities of every pair under the SFT checkpoint."""

    trees_per_batch: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoStage:
    """`dpo`: preference training from the SFT checkpoint."""

    dpo: DpoConfig
    peft: PeftConfig
    deepspeed: DeepSpeedConfig
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictStage:
    """`predict`: greedy responses to everything asked in one split."""

    predict: PredictConfig
    split: str
    prompt: str
    """`plain`, or `allow-refusal`: the prompt says that refusing is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalLogpsStage:
    """`refusal_logps`: log P(refusal) of everything asked in one split."""

    split: str
    prompt: str
    """As of `predict`."""
    refusals: tuple[str, ...]
    """Texts whose probabilities are summed."""
    trees_per_batch: int = working(8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateStage:
    """`calibrate`: a threshold for one system, so that a risk stays below a level."""

    risk: RiskConfig
    split: str
    prompt: str
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreStage:
    """`score`: outcomes and metrics of one system, recomputable without a model."""

    score: ScoreConfig
    boundary: BoundaryConfig
    row: str
    """One of `ROWS`; `threshold` picks its level on `align-val`."""
    split: str
    judge_decides: bool = added(False)
    """Whether outcomes are the judge's verdicts; the inputs `verdicts:<row>` are then of every row of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStage:
    """`report`: the tables, plots and page of one recipe."""

    title: str
    rows: tuple[str, ...]
    """Role of each input score folder, in table order."""
    labels: dict[str, str]
    """Printed name of each row."""
    score: ScoreConfig
    boundary: BoundaryConfig
