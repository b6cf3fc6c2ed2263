"""Small hand-made outcomes."""

from __future__ import annotations

from typing import Any

from inbol.contracts import Graded, Outcome

OUTCOMES = {"C": Outcome.CORRECT, "R": Outcome.REFUSED, "W": Outcome.WRONG}


def graded(key: str, outcome: str, base: str = "W", **changes: Any) -> Graded:
    """A question `image-qNN` with outcome and base outcome given as C, R or W; answerable shape question with c = 0.5 by default."""
    answerable = changes.get("answerable", True)
    values: dict[str, Any] = {
        "key": key,
        "image_key": key.split("-")[0],
        "question": f"what is in {key}?",
        "answers": ("circle",) if answerable else (),
        "answerable": answerable,
        "kind": "shape" if answerable else "vague",
        "wording": "seen",
        "template": "",
        "level": 0,
        "outcome": OUTCOMES[outcome],
        "base_outcome": OUTCOMES[base],
        "confidence": 0.5 if answerable else 0.0,
        "fresh_accuracy": None,
        "logprob": -1.0,
        "text": {"C": "circle", "R": "I do not know.", "W": "square"}[outcome],
        "base_text": {"C": "circle", "R": "I do not know.", "W": "square"}[base],
    }
    return Graded(**{**values, **changes})
