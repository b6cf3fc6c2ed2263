"""Grading one response: refusal first, correctness second (a hedge that still commits to an answer is no refusal)."""

from __future__ import annotations

from inbol.contracts import Outcome
from inbol.text.normalise import normalise
from inbol.text.refusals import is_refusal

MAX_CONTAINMENT_WORDS = 12
"""Longest response, in normalised words, in which a contained answer counts; longer ones could name every answer."""

REFUSAL_CLUSTER = "<refusal>"
"""The one cluster of all refusals, whatever their wording."""

_NEGATIONS = frozenset({"not", "no", "never", "neither", "nor", "without", "non", "isnt"})
_YES_NO = frozenset({"yes", "no"})
_LEAD_INS = frozenset(
    {"i", "am", "unsure", "but", "think", "believe", "guess", "would", "say", "my", "answer", "it", "is", "well", "so"}
    | {"probably", "maybe", "perhaps", "possibly", "likely"}
)


def grade_response(text: str, *, answers: tuple[str, ...], answerable: bool, question: str) -> Outcome:
    """The outcome of one response.

    Args:
        text: the decoded response; empty is WRONG.
        answers: accepted answers; ignored when not `answerable`.
        answerable: whether the image shows the answer; where it does not, everything but a refusal is WRONG.
        question: the question as asked; refusal phrases in it do not count.

    Raises:
        ValueError: an answerable question without answers.
    """
    if answerable and not answers:
        raise ValueError(f"question {question!r} is answerable but has no accepted answer; give `answers` or set answerable=False")
    if not text.strip():
        return Outcome.WRONG
    if is_refusal(text, question):
        return Outcome.REFUSED
    if answerable and any(matches(text, answer) for answer in answers):
        return Outcome.CORRECT
    return Outcome.WRONG


def matches(text: str, answer: str) -> bool:
    """True when `text` gives `answer`: equal after normalisation, or a short response that contains it as whole words, not negated and
    not as one of several offered. `yes` and `no` must be what the response opens with."""
    said, gold = normalise(text).split(), normalise(answer).split()
    if not said or not gold:
        return False
    if said == gold:
        return True
    if len(gold) == 1 and gold[0] in _YES_NO:
        return leading_yes_no(" ".join(said).replace("not sure", "unsure").split()) == gold[0]
    if len(said) > MAX_CONTAINMENT_WORDS or ("or" in said and "or" not in gold):
        return False
    for start in range(len(said) - len(gold) + 1):
        if said[start : start + len(gold)] == gold and not _NEGATIONS.intersection(said[max(0, start - 2) : start]):
            return True
    return False


def leading_yes_no(words: list[str]) -> str | None:
    """`yes` or `no` when normalised words open with it, lead-ins such as "I think" aside; None when they do not, or offer both."""
    for index, word in enumerate(words):
        if word in _YES_NO:
            both = words[index + 1 : index + 2] in (["or"], ["and"]) and bool(_YES_NO.intersection(words[index + 2 : index + 3]))
            return None if both else word
        if word not in _LEAD_INS:
            return None
    return None


def cluster(text: str, question: str) -> str:
    """The name of the group of responses that say the same: the normalised text, or `REFUSAL_CLUSTER` for every refusal."""
    return REFUSAL_CLUSTER if is_refusal(text, question) else normalise(text)
