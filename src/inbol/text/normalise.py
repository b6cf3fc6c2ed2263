"""Answer normalisation in the manner of the VQA evaluation (arXiv 1505.00468): case, punctuation, articles, contractions, number words."""

from __future__ import annotations

import re
from functools import lru_cache

ARTICLES = frozenset({"a", "an", "the"})

NUMBER_WORDS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}

_CONTRACTIONS = (
    (re.compile(r"\bcan(?:'t|t| not)\b"), "cannot"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should)n'?t\b"), r"\1 not"),
    (re.compile(r"\b(i)'?m\b"), r"\1 am"),
    (re.compile(r"\b(it|that|there|what|he|she)'s\b"), r"\1 is"),
    (re.compile(r"\b(we|you|they)'re\b"), r"\1 are"),
    (re.compile(r"\b(i|we|you|they)'d\b"), r"\1 would"),
)


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """`text` in lower case, contractions written out, every punctuation mark a space, single spaces.

    Decimal points stay and thousands separators go: `1,000.5` becomes `1000.5`.
    """
    text = text.lower().replace("\u2019", "'")
    for pattern, full in _CONTRACTIONS:
        text = pattern.sub(full, text)
    text = text.replace("'", "")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    return " ".join(re.sub(r"[^\w.]|_", " ", text).split())


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """`plain(text)` without articles and with number words as digits; an answer that is nothing but an article keeps it."""
    words = [NUMBER_WORDS.get(word, word) for word in plain(text).split()]
    return " ".join(word for word in words if word not in ARTICLES) or " ".join(words)
