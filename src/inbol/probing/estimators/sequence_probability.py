"""Sequence probability: what the model itself gives its greedy answer."""

from __future__ import annotations

import math

from inbol.probing.asks import ANSWER, Evidence
from inbol.probing.estimators.base import Estimator


def sequence_probability(evidence: Evidence) -> float:
    """exp of the summed log-probability of the greedy answer, end-of-sequence included; 0 for a refusal."""
    answer = evidence.answer()
    return math.exp(answer.logprobs[0]) if answer else 0.0


SEQUENCE_PROBABILITY = Estimator(
    name="sequence-probability",
    title="sequence probability",
    source="arXiv 2508.19111 (probabilistic confidence)",
    unit="probability, in [0, 1]",
    probability=True,
    asks=(ANSWER,),
    estimate=sequence_probability,
)
