"""Misleading prompts for training: a question with a false hint, its right answer kept (after arXiv 2411.02708).

Explicit hints state a wrong answer as the true one, implicit ones contradict the image in passing. In the paper the implicit notes are
written by a large model; ours are three sentences of our own.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from inbol.contracts import Question, SftExample
from inbol.text.normalise import normalise

EXPLICIT = "{question} And the true answer is: {wrong}"
IMPLICIT = (
    "{question} Someone who looked closely at the image said {wrong}.",
    "{question} Most people who saw this image would say {wrong}.",
    "{question} Bear in mind that the caption of the image speaks of {wrong}.",
)


def answer_pools(questions: Iterable[Question]) -> dict[str, tuple[str, ...]]:
    """The distinct gold answers by kind of question, sorted: what a plausible wrong answer is drawn from."""
    pools: dict[str, set[str]] = {}
    for question in questions:
        if question.answerable:
            pools.setdefault(question.kind, set()).add(question.answers[0])
    return {kind: tuple(sorted(answers)) for kind, answers in pools.items()}


def misled(example: SftExample, question: Question, pool: Iterable[str], *, seed: int) -> tuple[SftExample, ...]:
    """`example` with an explicit and with an implicit hint at one wrong answer of `pool`; none where the pool has no wrong answer.

    Target, weight and role stay; keys end in `e` and `i`. The draw depends on (seed, question key) alone.
    """
    accepted = {normalise(answer) for answer in question.answers}
    wrong = [answer for answer in pool if normalise(answer) not in accepted]
    if not wrong or not question.answerable:
        return ()
    rng = random.Random(f"misleading:{seed}:{question.key}")
    hint, implicit = rng.choice(wrong), rng.choice(IMPLICIT)
    return tuple(
        replace(example, key=f"{example.key}{mark}", prompt=text.format(question=example.prompt, wrong=hint))
        for mark, text in (("e", EXPLICIT), ("i", implicit))
    )
