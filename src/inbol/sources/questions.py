"""One question as users write it, checked: what the sources `local` and `shards` share."""

from __future__ import annotations

import re
from typing import Any

from inbol.contracts import SPLITS, UNSOLVABLE_KINDS

_TYPES: dict[str, type] = {"question": str, "answers": list, "answer": str, "split": str, "id": str, "kind": str, "answerable": bool}
FIELDS = tuple(_TYPES)
"""What may be said about a question."""


def check_question(raw: dict[str, Any]) -> dict[str, Any]:
    """The record with `answers` a list of texts, whichever of `answer` and `answers` it had.

    Raises:
        ValueError: a field of another type, no question, no answer (or an answer to what cannot be answered), an unknown split or kind, an
            id that could not be a key.
    """
    for field, kind in _TYPES.items():
        if field in raw and not isinstance(raw[field], kind):
            raise ValueError(f"{field} must be of type {kind.__name__}, got {raw[field]!r}")
    if not raw.get("question", "").strip():
        raise ValueError("lacks question")
    if "answer" in raw and "answers" in raw:
        raise ValueError("has both answer and answers; give one of them")
    answers = [raw["answer"]] if "answer" in raw else raw.get("answers", [])
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ValueError(f"answers must be texts that are not empty, got {answers!r}")
    if raw.get("answerable", True) and not answers:
        raise ValueError("lacks answers; a question beyond the image needs answerable=false")
    if not raw.get("answerable", True):
        if answers:
            raise ValueError(f"answerable is false, but there are answers: {answers!r}")
        if raw.get("kind") not in UNSOLVABLE_KINDS:
            raise ValueError(f"kind of a question beyond the image must be one of {', '.join(UNSOLVABLE_KINDS)}, got {raw.get('kind')!r}")
    if "split" in raw and raw["split"] not in SPLITS:
        raise ValueError(f"split {raw['split']!r} is not one of {', '.join(SPLITS)}")
    if "id" in raw and not re.fullmatch(r"[A-Za-z0-9_\-]+", raw["id"]):
        raise ValueError(f"id {raw['id']!r}: only letters, digits, '-' and '_' are allowed")
    return {**{field: value for field, value in raw.items() if field != "answer"}, "answers": answers}
