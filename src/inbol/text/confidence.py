"""Confidence in words: an answer that says how sure the model is, and the levels of boldness that a prompt can ask for.

The wordings are this project's. Each is made so that `text/match.py` grades the whole response as it grades the answer alone; "unsure" is
a refusal, as an unsure answer is withheld in R-Tuning (arXiv 2311.09677).
"""

from __future__ import annotations

import random
from math import ceil

DEGREES = (
    "I am unsure, but I guess it is {}.",
    "Perhaps it is {}.",
    "I think it is {}.",
    "Probably it is {}.",
    "It is {}.",
)
"""For a confidence up to .2, .4, .6, .8 and 1: the five bins of `Confidence-Verb` (arXiv 2312.07000)."""
SURE = "{}. I am sure."
UNSURE = "{}. I cannot say for sure."
LEVELS = tuple(n / 10 for n in range(11))
"""A level l above 0 answers from the confidence 1.1 - l on, level 0 never (arXiv 2401.13275)."""


def with_confidence(answer: str, confidence: float) -> str:
    """`answer` in the words of its degree. Raises ValueError outside (0, 1]."""
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence: {confidence!r} is not in (0, 1]")
    return DEGREES[ceil(confidence * len(DEGREES) - 1e-9) - 1].format(answer.rstrip("."))


def with_sureness(answer: str, *, sure: bool) -> str:
    """`answer`, and behind it whether the model is sure of it."""
    return (SURE if sure else UNSURE).format(answer.rstrip("."))


def levels_of(count: int, rng: random.Random) -> list[float]:
    """`count` of the eleven levels, drawn without replacement, ascending. Raises ValueError for a count that is not in [1, 11]."""
    if not 1 <= count <= len(LEVELS):
        raise ValueError(f"levels: {count!r} is not in [1, {len(LEVELS)}]")
    return sorted(rng.sample(LEVELS, count))
