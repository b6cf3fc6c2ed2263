"""Outcomes by a judge's verdicts, worked by hand."""

from __future__ import annotations

import pytest

from inbol.contracts import Graded, Outcome
from inbol.evaluation.outcomes import REFUSED_TEXT
from inbol.judging.judge import Verdict
from inbol.stages.verdicts import judged_by


def graded(key: str, *, answerable: bool = True, text: str = "red", outcome: Outcome = Outcome.WRONG) -> Graded:
    return Graded(
        key=key, image_key=key, question="?", answers=("red",) if answerable else (), answerable=answerable, kind="color", wording="seen",
        template="", level=0, outcome=outcome, base_outcome=Outcome.WRONG, confidence=0.5, fresh_accuracy=None, logprob=-1.0, text=text,
        base_text="blue",
    )  # fmt: skip


def verdicts(refusal: dict[str, int | None], correctness: dict[str, int | None]) -> dict[str, dict[str, Verdict]]:
    found = {"refusal": refusal, "correctness": correctness}
    return {name: {k: Verdict(key=k, image_key=k, dimension=name, value=v) for k, v in values.items()} for name, values in found.items()}


ROWS = [
    graded("right"),
    graded("refuses"),
    graded("beyond", answerable=False),
    graded("withheld", text=REFUSED_TEXT, outcome=Outcome.REFUSED),
    graded("open"),
]
MINE = verdicts({"right": 0, "refuses": 1, "beyond": 0, "withheld": 0, "open": 0}, {"right": 1, "refuses": 1, "withheld": 1, "open": 1})
BASE = verdicts({"right": 0, "refuses": 0, "beyond": 1, "withheld": 0, "open": None}, {"right": 0, "refuses": 1, "withheld": 1, "open": 1})


def test_outcomes_are_the_judges_and_what_was_withheld_stays_refused() -> None:
    """The tag comes before the answer; beyond the image only a refusal is right; `open` is unjudged in the base, so it is left out of
    both. The judge never saw that a calibration or threshold withheld a response: it is refused whatever he says of its text."""
    judged = judged_by(ROWS, {"dpo": MINE, "base": BASE}, row="dpo")
    right, refused, wrong = Outcome.CORRECT, Outcome.REFUSED, Outcome.WRONG
    assert {g.key: (g.outcome, g.base_outcome) for g in judged.decided} == {
        "right": (right, wrong), "refuses": (refused, right), "beyond": (wrong, refused), "withheld": (refused, right)
    }  # fmt: skip
    assert judged.excluded == {"dpo": 0, "base": 1}
    assert judged.second["answerable"] == {"judged": 4, "unjudged": 0, "CORRECT": 0.5, "REFUSED": 0.5, "WRONG": 0.0}


def test_a_row_without_verdicts_is_named() -> None:
    with pytest.raises(ValueError, match="none for row sft; there are dpo, base"):
        judged_by(ROWS, {"dpo": MINE, "base": BASE}, row="sft")
