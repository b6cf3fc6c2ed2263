"""Self-consistency: the share of the samples that give the most frequent answer (arXiv 2203.11171). Needs no gold answer."""

from __future__ import annotations

from collections import Counter

from inbol.probing.asks import Evidence
from inbol.probing.estimators.base import Estimator
from inbol.text.match import REFUSAL_CLUSTER


def self_consistency(evidence: Evidence) -> float:
    """Size of the largest group of answers / K. Refusals count in K and are no answer, so K refusals give 0."""
    groups = evidence.groups()
    sizes = Counter(group for group in groups if group != REFUSAL_CLUSTER)
    return max(sizes.values(), default=0) / len(groups)


SELF_CONSISTENCY = Estimator(
    name="self-consistency",
    title="self-consistency",
    source="arXiv 2203.11171",
    unit="share of the K samples, in [0, 1]",
    probability=True,
    estimate=self_consistency,
)
