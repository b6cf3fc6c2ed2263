"""Configuration of the confidence that decides: which estimator, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inbol.config.checks import at_least, one_of, positive

ESTIMATORS = (
    "accuracy",
    "self-consistency",
    "sequence-probability",
    "semantic-entropy",
    "p-true",
    "verbalised",
    "stable-explanations",
    "sure-unsure",
    "p-ik",
    "blind-image",
    "informativeness",
)
"""Names of `probing/estimators/registry.py`; a test holds the two together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceConfig:
    """Which number the boundary is drawn by and the soft targets are made of."""

    estimator: str = "accuracy"
    """One of `ESTIMATORS`. All but `accuracy` add the stage `estimate`, and `probe` where the model has to be asked further."""
    entailment: str = ""
    """Folder of a transformers sequence classifier that decides which samples mean the same, for `self-consistency` and
    `semantic-entropy`; normalised match where empty."""
    explanations: int = 3
    """`stable-explanations`: explanations that the answer is averaged over."""
    explanation_tokens: int = 48
    """Longest explanation, end-of-sequence included."""
    ridge: float = 10.0
    """`p-ik`: strength of the probe's ridge, on standardised features."""
    folds: int = 5
    """`p-ik`: parts of align-train by image; each is scored by a probe trained on the others."""
    trees_per_batch: int = 8
    """Images (each with all its questions) asked together."""

    def __post_init__(self) -> None:
        one_of("estimator", self.estimator, ESTIMATORS)
        if self.entailment and not Path(self.entailment).is_dir():
            raise ValueError(f"entailment: {self.entailment!r} is no folder; give that of a sequence classifier, or leave it empty")
        positive("explanations", self.explanations)
        positive("explanation_tokens", self.explanation_tokens)
        positive("ridge", self.ridge)
        at_least("folds", self.folds, 2)
        positive("trees_per_batch", self.trees_per_batch)
