"""Semantic entropy: the entropy over groups of samples that mean the same, each weighed by its likelihood (arXiv 2302.09664)."""

from __future__ import annotations

import math
from collections import defaultdict

from inbol.probing.asks import Evidence
from inbol.probing.estimators.base import Estimator, entropy
from inbol.text.match import REFUSAL_CLUSTER


def semantic_entropy(evidence: Evidence) -> float:
    """-SE in nats, in [-log K, 0]: SE = -sum_k p_k log p_k, p_k = sum over group k of exp(l_i), normalised, with l_i the mean
    log-probability of a token of sample i. -log K where the likeliest group is that of the refusals."""
    responses, groups = evidence.responses, evidence.groups()
    weights: dict[str, float] = defaultdict(float)
    for group, logprob, length in zip(groups, responses.logprobs, responses.num_tokens, strict=True):
        weights[group] += math.exp(logprob / max(length, 1))
    if weights.get(REFUSAL_CLUSTER, -1.0) == max(weights.values()):
        return -math.log(len(groups))
    total = sum(weights.values())
    return -entropy({group: weight / total for group, weight in weights.items()})


SEMANTIC_ENTROPY = Estimator(
    name="semantic-entropy",
    title="semantic entropy (negative)",
    source="arXiv 2302.09664; Farquhar et al., Nature 2024",
    unit="negative nats, in [-log K, 0]",
    probability=False,
    estimate=semantic_entropy,
)
