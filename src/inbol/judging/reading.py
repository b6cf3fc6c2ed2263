"""Reading a judge's answer: exactly what was asked for, or nothing."""

from __future__ import annotations

import re

from inbol.judging.prompts import FORMS

_FIELD = {name: re.compile(rf"[\s`*]*{name}[\s`*]*:[\s`*]*(.*?)[\s`*.]*", re.I) for name in set(FORMS.values())}
_VALUES = {
    "tag": {"0": 0, "1": 1},
    "correct": {"no": 0, "yes": 1},
    "score": {str(number): number for number in range(1, 11)},
}


def read_verdict(dimension: str, text: str) -> int | None:
    """The value in the one line that says it: 0 or 1, or 1 to 10 for a score.

    Further lines may explain. None where no line or several name the field, or its value is not one of those asked for: `score: 7/10`,
    `score: 0` and `tag: refusal` are not read, and nothing is guessed.
    """
    form = FORMS[dimension]
    named = [found[1] for line in text.splitlines() if (found := _FIELD[form].fullmatch(line))]
    return _VALUES[form].get(named[0].lower()) if len(named) == 1 else None
