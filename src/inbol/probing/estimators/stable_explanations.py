"""Stable explanations: the answer's probability, averaged over explanations of it (Cycles of Thought, arXiv 2406.03441).

The entailment judge is the model itself. The answer is scored given each explanation and not drawn anew, which is the same average with
less noise, but counts one wording of the answer alone.
"""

from __future__ import annotations

import math

from inbol.probing.asks import ANSWER, Ask, Evidence, own_answer
from inbol.probing.estimators.base import Estimator, normalised

YES, NO = "Yes", "No"


def explain(evidence: Evidence) -> tuple[str, ...]:
    """What decides the answer?"""
    return (
        (f"Question: {evidence.question.text}\nExplain in one sentence what in the image decides the answer.",) if evidence.answer() else ()
    )


EXPLAIN = Ask(
    name="explain",
    kind="say",
    prompts=explain,
    draws=lambda budget: budget.explanations,
    tokens=lambda budget: budget.explanation_tokens,
)


def _each(evidence: Evidence, ending: str) -> tuple[str, ...]:
    return tuple(
        f"Question: {evidence.question.text}\nExplanation: {text}\n{ending}"
        for reply in evidence.replies(EXPLAIN.name)
        for text in reply.texts
    )


ENTAILED = Ask(
    name="entailed",
    kind="score",
    prompts=lambda evidence: _each(evidence, "Does the explanation follow from the question and the image? Answer Yes or No."),
    options=lambda evidence: (YES, NO),
)
GIVEN = Ask(name="given-explanation", kind="score", prompts=lambda evidence: _each(evidence, "Answer:"), options=own_answer)


def stable_explanations(evidence: Evidence) -> float:
    """sum_e w(e) p(answer | question, e), with w(e) in proportion to P(entailed); 0 for a refusal."""
    entailed = [normalised(reply)[YES] for reply in evidence.replies(ENTAILED.name)]
    given = [math.exp(reply.logprobs[0]) for reply in evidence.replies(GIVEN.name)]
    total = sum(entailed)
    return sum(w * p for w, p in zip(entailed, given, strict=True)) / total if total > 0 else 0.0


STABLE_EXPLANATIONS = Estimator(
    name="stable-explanations",
    title="stable explanations",
    source="arXiv 2406.03441 (weights recalled)",
    unit="probability, in [0, 1]",
    probability=True,
    asks=(ANSWER, EXPLAIN, ENTAILED, GIVEN),
    estimate=stable_explanations,
)
