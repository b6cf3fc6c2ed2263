"""Verbalised confidence: how sure the model says it is, from 0 to 100 (arXiv 2205.14334, 2508.19111 for vision-language models).

The eleven round numbers are scored instead of read from what is said, so that there is always a number; their mean is finer than the most
probable one.
"""

from __future__ import annotations

from inbol.probing.asks import ANSWER, Ask, Evidence, after_answer
from inbol.probing.estimators.base import Estimator, normalised

LEVELS = tuple(str(percent) for percent in range(0, 101, 10))
ASKED = "How sure are you that the answer is right, from 0 to 100? Answer with the number."
HOW_SURE = Ask(name="how-sure", kind="score", prompts=after_answer(ASKED), options=lambda evidence: LEVELS)


def verbalised(evidence: Evidence) -> float:
    """Mean of the eleven levels under the model's own probabilities, / 100; 0 for a refusal."""
    replies = evidence.replies(HOW_SURE.name)
    return sum(p * int(level) for level, p in normalised(replies[0]).items()) / 100 if replies else 0.0


VERBALISED = Estimator(
    name="verbalised",
    title="verbalised",
    source="arXiv 2205.14334; eleven levels scored",
    unit="probability, in [0, 1]",
    probability=True,
    asks=(ANSWER, HOW_SURE),
    estimate=verbalised,
)
