"""How sure a model is of its answer, from K samples of it: pure estimators, no model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from inbol.contracts import Confidence, Outcome, Question, ResponseSet
from inbol.probing.stopping import tally
from inbol.text.match import cluster, grade_response


def estimate(responses: ResponseSet, question: Question) -> Confidence:
    """Every estimator for one question.

    `accuracy` and `fresh_accuracy` are None beyond the image, where nothing is correct. Refusals are one answer, whatever their wording.
    Where sampling stopped early there are bounds and no estimates: it ended at a moment that the samples chose.

    Raises:
        ValueError: the samples are of another question, or there are none, or their log-probabilities do not match in number.
    """
    if responses.key != question.key:
        raise ValueError(f"responses of {responses.key} cannot grade question {question.key}")
    if responses.intended:
        return _bounds(responses, question)
    if not responses.texts or len(responses.texts) != len(responses.logprobs):
        raise ValueError(
            f"{responses.key}: {len(responses.texts)} texts and {len(responses.logprobs)} logprobs; need the same number, at least one"
        )
    outcomes = grade_all(responses.texts, question)
    fresh = grade_all(responses.fresh_texts, question)
    groups = [cluster(text, question.text) for text in responses.texts]
    return Confidence(
        key=question.key,
        image_key=question.image_key,
        accuracy=share(outcomes, Outcome.CORRECT) if question.answerable else None,
        consistency=consistency(groups),
        entropy=entropy(groups),
        logprob=sum(responses.logprobs) / len(responses.logprobs),
        refused=share(outcomes, Outcome.REFUSED),
        fresh_accuracy=share(fresh, Outcome.CORRECT) if question.answerable and fresh else None,
    )


def _bounds(responses: ResponseSet, question: Question) -> Confidence:
    """What samples that stopped early leave: nothing beyond the image, otherwise between what the shares over all K lie."""
    if responses.intended <= len(responses.texts):
        raise ValueError(f"{responses.key}: sampling of K = {responses.intended} stopped early, but there are {len(responses.texts)} texts")
    so_far = tally(responses.texts, question)
    return Confidence(
        key=question.key,
        image_key=question.image_key,
        accuracy=None,
        consistency=None,
        entropy=None,
        logprob=None,
        refused=None,
        accuracy_bounds=so_far.accuracy(responses.intended) if question.answerable else (),
        agreement_bounds=so_far.agreement(responses.intended) if question.answerable else (),
    )


def grade_all(texts: Iterable[str], question: Question) -> list[Outcome]:
    """The outcome of each response to `question`."""
    return [grade_response(text, answers=question.answers, answerable=question.answerable, question=question.text) for text in texts]


def share(outcomes: list[Outcome], outcome: Outcome) -> float:
    """Share of `outcome`, in [0, 1]; `outcomes` must not be empty."""
    return outcomes.count(outcome) / len(outcomes)


def consistency(groups: list[str]) -> float:
    """Share of the most frequent group, in [1/K, 1] (self-consistency, arXiv 2203.11171)."""
    return max(Counter(groups).values()) / len(groups)


def entropy(groups: list[str]) -> float:
    """Discrete semantic entropy, nats, in [0, log K]: of the empirical distribution over groups of like meaning (arXiv 2302.09664,
    in the discrete form of Farquhar et al., Nature 2024)."""
    probabilities = [count / len(groups) for count in Counter(groups).values()]
    return max(0.0, -sum(p * math.log(p) for p in probabilities))
