"""Sure or unsure: R-Tuning's question behind the answer, half of the score; the answer's probability is the other (arXiv 2311.09677)."""

from __future__ import annotations

import math

from inbol.probing.asks import ANSWER, Ask, Evidence, after_answer
from inbol.probing.estimators.base import Estimator, normalised

SURE, UNSURE = "I am sure.", "I am unsure."
ASKED = "Are you sure you accurately answered the question based on your internal knowledge?"
SAY_SURE = Ask(name="sure", kind="score", prompts=after_answer(ASKED), options=lambda evidence: (SURE, UNSURE))


def sure_unsure(evidence: Evidence) -> float:
    """Half the geometric mean of the greedy answer's token probabilities + half of P(sure) among sure and unsure; 0 for a refusal."""
    answer, replies = evidence.answer(), evidence.replies(SAY_SURE.name)
    if answer is None or not replies:
        return 0.0
    return 0.5 * math.exp(answer.logprobs[0] / max(answer.num_tokens[0], 1)) + 0.5 * normalised(replies[0])[SURE]


SURE_UNSURE = Estimator(
    name="sure-unsure",
    title="sure or unsure",
    source="arXiv 2311.09677 (R-Tuning)",
    unit="mean of two probabilities, in [0, 1]",
    probability=True,
    asks=(ANSWER, SAY_SURE),
    estimate=sure_unsure,
)
