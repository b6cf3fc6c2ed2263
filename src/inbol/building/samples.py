"""What a model answered among its samples of one question."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from inbol.contracts import Outcome, Question, ResponseSet
from inbol.text.match import cluster, grade_response


@dataclass(frozen=True, slots=True)
class SampledAnswer:
    """One distinct answer among the K samples."""

    text: str
    """Its most frequent spelling."""
    count: int
    """Samples that gave it."""
    outcome: Outcome
    """CORRECT or WRONG; refusals are left out."""


def sampled_answers(question: Question, responses: ResponseSet) -> list[SampledAnswer]:
    """The distinct answers that were sampled, most frequent first, then by spelling; refusals and empty responses are left out."""
    spellings: dict[str, Counter[str]] = {}
    for text in responses.texts:
        spellings.setdefault(cluster(text, question.text), Counter())[text.strip()] += 1
    answers = []
    for counts in spellings.values():
        text = min(counts, key=lambda spelling: (-counts[spelling], spelling))
        outcome = grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text)
        if text and outcome is not Outcome.REFUSED:
            answers.append(SampledAnswer(text, counts.total(), outcome))
    return sorted(answers, key=lambda answer: (-answer.count, answer.text))


def correct_answers(question: Question, responses: ResponseSet) -> list[SampledAnswer]:
    """The distinct correct answers among the samples, most frequent first."""
    return [answer for answer in sampled_answers(question, responses) if answer.outcome is Outcome.CORRECT]
