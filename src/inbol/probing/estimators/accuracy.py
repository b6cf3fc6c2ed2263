"""Accuracy of the samples: the share of K samples that is right (arXiv 2401.13275, 2312.07000, 2412.11803). Needs the gold answer."""

from __future__ import annotations

from inbol.contracts import Outcome
from inbol.probing.asks import Evidence
from inbol.probing.confidence import grade_all, share
from inbol.probing.estimators.base import Estimator


def accuracy(evidence: Evidence) -> float:
    """Correct / K; a refusal is not correct. Raises ValueError where sampling stopped early."""
    evidence.groups()  # refuses what is not all K samples
    return share(grade_all(evidence.responses.texts, evidence.question), Outcome.CORRECT)


ACCURACY = Estimator(
    name="accuracy",
    title="accuracy of samples",
    source="arXiv 2401.13275",
    unit="share of the K samples, in [0, 1]",
    probability=True,
    estimate=accuracy,
)
