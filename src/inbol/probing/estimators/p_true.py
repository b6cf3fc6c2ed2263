"""P(True): the model is shown its own ideas and one answer, and asked whether that is true (arXiv 2207.05221), without examples."""

from __future__ import annotations

from collections import Counter

from inbol.probing.asks import ANSWER, Ask, Evidence
from inbol.probing.estimators.base import Estimator, normalised
from inbol.text.match import REFUSAL_CLUSTER, cluster

TRUE, FALSE = "A", "B"
IDEAS = 10
"""Distinct sampled answers that are shown at most."""


def prompts(evidence: Evidence) -> tuple[str, ...]:
    """The question, the distinct sampled answers (most frequent first, ties by alphabet), and the greedy answer as the possible one."""
    answer = evidence.answer()
    if answer is None:
        return ()
    asked = evidence.question.text
    counts = Counter(cluster(text, asked) for text in evidence.responses.texts)
    ideas = [idea for idea, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if idea not in ("", REFUSAL_CLUSTER)]
    return (
        f"Question: {asked}\nBrainstormed answers: {', '.join(ideas[:IDEAS])}\nPossible answer: {answer.texts[0]}\n"
        f"Is the possible answer: {TRUE}) True {FALSE}) False\nAnswer with the letter.",
    )


IS_TRUE = Ask(name="is-true", kind="score", prompts=prompts, options=lambda evidence: (TRUE, FALSE))


def p_true(evidence: Evidence) -> float:
    """P("A") / (P("A") + P("B")); 0 for a refusal."""
    replies = evidence.replies(IS_TRUE.name)
    return normalised(replies[0])[TRUE] if replies else 0.0


P_TRUE = Estimator(
    name="p-true",
    title="P(True)",
    source="arXiv 2207.05221; normalised over the two letters, zero-shot",
    unit="probability, in [0, 1]",
    probability=True,
    asks=(ANSWER, IS_TRUE),
    estimate=p_true,
)
