"""The whole configuration of a run: what Hydra composes becomes one `RunConfig`."""

from __future__ import annotations

from dataclasses import dataclass, field

from inbol.config.benchmarks import BenchmarkConfig
from inbol.config.checks import one_of
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
from inbol.config.estimating import ConfidenceConfig
from inbol.config.launching import LauncherConfig
from inbol.config.planning import ModelConfig, PlanConfig
from inbol.config.risk import RiskConfig
from inbol.config.rl import GrpoConfig, RewardConfig
from inbol.config.serving import CHECKPOINT, JudgeConfig
from inbol.config.training import CONFIDENCE_LOSSES, IMAGE_LOSSES, BaseConfig, DeepSpeedConfig, DpoConfig, PeftConfig, SftConfig

ROWS = ("base", "threshold", "refusal-prompt", "sft", "dpo", "grpo", "calibrated")
"""And `dpo-2`, `dpo-3`, ... for the later rounds of preference training."""
STYLES = ("plain", "allow-refusal", *(f"level-{n / 10:.1f}" for n in range(11)))
"""Prompt styles; the same as `text/prompts.py` knows."""


def round_of(row: str) -> int:
    """The round of preference training after which a row evaluates: 1 for `dpo`, r for `dpo-r`, 0 for every other row."""
    number = row.removeprefix("dpo-")
    return 1 if row == "dpo" else int(number) if row != number and number.isdecimal() and int(number) > 1 and number[0] != "0" else 0


def is_trained(row: str) -> bool:
    """Whether a row has a checkpoint of its own, beside the base's."""
    return row in ("sft", "grpo") or round_of(row) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeConfig:
    """What a recipe is called, what it is for, and which systems its table shows."""

    name: str
    """File name in `recipes/`."""
    purpose: str
    """One line, shown by `make recipes`."""
    rows: tuple[str, ...]
    """Systems of the table, in order: `base`, `threshold` (base, own sequence probability), `refusal-prompt` (base, a prompt that
    allows refusing), `sft` (after SFT), `dpo` (after DPO), `dpo-2`, ... (after a further round: the checkpoint of the round before it is
    sampled and labelled anew, and trained on its own pairs), `grpo` (after SFT and on-policy training), `calibrated`
    (the last of base, sft, the rounds of dpo and grpo among the rows, which then refuses from the threshold on that `risk` promises). The
    chain of stages follows from them."""
    labels: dict[str, str] = field(default_factory=dict)
    """Printed name of a row where the row's own is not enough: `{sft: CA-SFT}`."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Prompt style in which a trained row is asked (`text/prompts.py`) where it is not `plain`: `{sft: level-0.6}`."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if not round_of(row):
                one_of("rows", row, (*ROWS, "dpo-2"))
        for row, style in self.prompts.items():
            if not is_trained(row):
                one_of(f"prompts.{row}", row, ("sft", "dpo", "dpo-2", "grpo"))
            one_of(f"prompts.{row}", style, STYLES)
        if "base" not in self.rows:
            raise ValueError("rows: every table starts from the row 'base'; the other rows are compared with it")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerConfig:
    """Where curves and tables are logged."""

    kind: str = "wandb-offline"
    """`wandb`, `wandb-offline`, `trackio`, `tensorboard` or `none`."""
    project: str = "inbol"
    """Project name of the tracker."""

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("wandb", "wandb-offline", "trackio", "tensorboard", "none"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One recipe at one scale with one seed."""

    recipe: RecipeConfig
    scale: str
    """Name of the file in `conf/scale/`."""
    seed: int = 0
    """Seed of the base's training, of sampling and of alignment."""
    runs_dir: str = "runs"
    """Where stage folders and run folders are written."""
    source: SourceConfig
    unsolvable: UnsolvableConfig = UnsolvableConfig()
    base: BaseConfig
    sampling: SamplingConfig = SamplingConfig()
    confidence: ConfidenceConfig = ConfidenceConfig()
    boundary: BoundaryConfig = BoundaryConfig()
    sft_data: SftDataConfig = SftDataConfig()
    sft: SftConfig
    pairs: PairsConfig = PairsConfig()
    dpo: DpoConfig
    reward: RewardConfig = RewardConfig()
    grpo: GrpoConfig = GrpoConfig()
    peft: PeftConfig = PeftConfig()
    deepspeed: DeepSpeedConfig = DeepSpeedConfig()
    predict: PredictConfig = PredictConfig()
    score: ScoreConfig = ScoreConfig()
    risk: RiskConfig = RiskConfig()
    tracker: TrackerConfig = TrackerConfig()
    launcher: LauncherConfig = LauncherConfig()
    model: ModelConfig = ModelConfig()
    plan: PlanConfig = PlanConfig()
    eval_split: str = "test"
    """`test` for a final evaluation, `align-val` for choosing thresholds, variants and defaults."""
    features: bool = False
    """Whether trained rows are asked with confidence and entropy behind the question (UAlign): measured ones in training, and in evaluation
    those that a model of their own predicts from the question."""
    judge: JudgeConfig = JudgeConfig()
    """Who grades responses besides the rules."""
    benchmarks: tuple[str, ...] = ()
    """Benchmarks that every row is measured on, by name; docs/benchmarks.md lists them."""
    benchmark: dict[str, BenchmarkConfig] = field(default_factory=dict)
    """Where each benchmark's files are, and more, by name; one that is not named here takes the defaults."""

    def __post_init__(self) -> None:
        one_of("eval_split", self.eval_split, ("test", "align-val"))
        if "calibrated" in self.recipe.rows and self.eval_split == "align-val":
            raise ValueError("recipe.rows: 'calibrated' is chosen on align-val, and cannot be judged there; take eval_split=test")
        if "calibrated" in self.recipe.rows and self.benchmarks:
            raise ValueError("recipe.rows: 'calibrated' promises nothing about the images of benchmarks; leave one of the two out")
        if self.pairs.form == "duplicated" and self.dpo.loss in CONFIDENCE_LOSSES:
            raise ValueError(
                f"dpo.loss: {self.dpo.loss!r} with pairs.form='duplicated' counts the confidence twice "
                "(the pairs' weights are n/K already); take dpo.loss=hard, or pairs.form=single"
            )
        if self.sampling.stop == "label" and (exact := self._needs_all_samples()):
            raise ValueError(f"sampling.stop: 'label' leaves confidences open, but {'; '.join(exact)}; take sampling.stop=never")
        self._check_methods()
        self._check_on_policy()
        self._check_features()
        self._check_backends()
        share = self.base.optim.global_batch, self.sft.optim.global_batch, self.dpo.optim.global_batch
        for name, batch in zip(("base", "sft", "dpo"), share, strict=True):
            if name == "base" and self.base.kind == "pretrained":
                continue  # linked, not trained
            (nodes, ranks), world = self.launcher.resources(name), self.launcher.world(name)
            if batch % world:
                several = f" on each of {nodes} nodes" if nodes > 1 else ""
                raise ValueError(
                    f"{name}.optim.global_batch: {batch} trees do not divide over launcher.ranks={ranks}{several}; "
                    f"take a multiple of {world}"
                )

    def _check_methods(self) -> None:
        """Refuse methods whose settings contradict each other, as far as the recipe trains by them."""
        method, mistaken = self.sft_data.method, self.boundary.mistaken
        if mistaken is not None and method in ("verb", "suffix", "levels"):
            raise ValueError(f"boundary.mistaken: {mistaken} with sft_data.method={method!r}, which knows no such label; take null")
        later = max(self.recipe.rows, key=round_of)
        if round_of(later) > 1 and self.confidence.estimator != "accuracy":
            raise ValueError(
                f"confidence.estimator: {self.confidence.estimator!r} with the row {later!r}: later rounds are labelled by the accuracy of "
                "their own samples; take 'accuracy'"
            )
        needed = self.dpo.loss in IMAGE_LOSSES
        if needed != bool(self.pairs.altered):
            allowed = "'blank' or 'occluded'" if needed else f"'', or dpo.loss={' or '.join(IMAGE_LOSSES)}"
            raise ValueError(f"pairs.altered: {self.pairs.altered!r} with dpo.loss={self.dpo.loss!r}; take {allowed}")

    def _check_on_policy(self) -> None:
        """Refuse groups of responses that do not divide over the ranks."""
        if "grpo" not in self.recipe.rows:
            return
        world = self.launcher.world("grpo")
        if self.grpo.responses % world:
            raise ValueError(
                f"grpo.questions: {self.grpo.questions} questions of {self.grpo.group} responses (grpo.group) do not divide over {world} "
                f"ranks; take a multiple"
            )
        if self.grpo.reward == "model" and self.reward.optim.global_batch % self.launcher.world("reward"):
            raise ValueError(
                f"reward.optim.global_batch: {self.reward.optim.global_batch} trees do not divide over {self.launcher.world('reward')} "
                "ranks; take a multiple"
            )

    def _check_features(self) -> None:
        """Refuse rows and prompts that do not go with features in the prompt."""
        rows = [row for row in self.recipe.rows if row == "calibrated" or round_of(row) > 1]
        for name, odd in (
            ("recipe.rows", rows[:1]),
            ("benchmarks", self.benchmarks[:1]),
            ("sft_data.method", ["levels"] if self.sft_data.method == "levels" else []),
            ("sft_data.mislead", [True] if self.sft_data.mislead else []),
            ("recipe.prompts", list(self.recipe.prompts)[:1]),
        ):
            if self.features and odd:
                raise ValueError(f"features: true with {name}: {odd[0]!r}, which is asked without them; leave one of the two out")

    def _check_backends(self) -> None:
        """Refuse an engine that would answer with another checkpoint than the stage's, or on another's GPU."""
        rows = [row for row in self.recipe.rows if is_trained(row)]
        if self.predict.backend == "openai" and rows and CHECKPOINT not in self.predict.server.model:
            raise ValueError(
                f"predict.server.model: {self.predict.server.model!r} would answer for every row, but {', '.join(rows)} have checkpoints "
                f"of their own; serve by path and write {CHECKPOINT} (docs/judges.md), or take predict.backend=tree"
            )
        for name, backend in (("sampling", self.sampling.backend), ("predict", self.predict.backend)):
            if backend == "vllm" and self.launcher.world("sample") > 1:
                raise ValueError(f"{name}.backend: 'vllm' takes the first GPU in every process; take launcher.ranks=1")

    def _needs_all_samples(self) -> list[str]:
        """The settings that need all K samples of a question, or its exact confidence."""
        needs = []
        trained = max(map(round_of, self.recipe.rows))
        if any(map(is_trained, self.recipe.rows)):
            if self.sft_data.method in ("soft", "verb", "levels"):
                needs.append(f"sft_data.method={self.sft_data.method!r} weighs by them")
            if self.sft_data.answer != "gold":
                needs.append(f"sft_data.answer={self.sft_data.answer!r} takes the samples")
            if self.sft_data.method == "threshold" and self.sft_data.dead_band:
                needs.append(f"sft_data.dead_band={self.sft_data.dead_band} compares them with tau")
        if trained or ("grpo" in self.recipe.rows and self.grpo.reward == "model"):
            row = "dpo" if trained else "grpo"
            needs.append(f"the row {row!r} in recipe.rows takes the most frequent wrong answer of all K samples, and their confidence")
        if self.confidence.estimator != "accuracy" and {"sft", "dpo", "grpo"}.intersection(self.recipe.rows):
            needs.append(f"confidence.estimator={self.confidence.estimator!r} estimates from all of them")
        if self.features:
            needs.append("features=true puts their entropy into the prompt")
        if self.eval_split == "align-val":
            needs.append("eval_split='align-val' scores by them")
        return needs
