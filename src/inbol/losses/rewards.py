"""What a sampled response is worth in on-policy training."""

from __future__ import annotations

from inbol.contracts import Outcome


def ternary_reward(
    outcome: Outcome,
    *,
    answerable: bool,
    correct: float = 1.0,
    refused: float = 0.0,
    wrong: float = -1.0,
    beyond_refused: float = 1.0,
    beyond_wrong: float = -1.0,
) -> float:
    """The worth of one response: on answerable questions TruthRL's ternary reward (arXiv 2509.25760), beyond the image ours.

    Args:
        outcome: what the response is.
        answerable: whether the image answers the question.
        correct: of a correct answer.
        refused: of refusing what can be answered (r_ref).
        wrong: of a wrong answer (-lambda).
        beyond_refused: beyond the image, of the right response, a refusal.
        beyond_wrong: beyond the image, of everything else.

    Raises:
        ValueError: a correct answer to a question that has none.
    """
    if answerable:
        return {Outcome.CORRECT: correct, Outcome.REFUSED: refused, Outcome.WRONG: wrong}[outcome]
    if outcome is Outcome.CORRECT:
        raise ValueError("outcome: CORRECT beyond the image, where no answer is; only a refusal is right there")
    return beyond_refused if outcome is Outcome.REFUSED else beyond_wrong
