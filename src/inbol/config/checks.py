"""Small range checks for configuration fields. Each returns nothing or raises ValueError naming the field, the value and what is
allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Refuse a value outside `allowed`."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(map(repr, allowed))}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name}: {value!r} is not in [{low}, {high}]")


def at_least(name: str, value: float, low: float) -> None:
    """Refuse a number below `low`."""
    if value < low:
        raise ValueError(f"{name}: {value!r} must be at least {low}")


def positive(name: str, value: float) -> None:
    """Refuse zero and negative numbers."""
    if value <= 0:
        raise ValueError(f"{name}: {value!r} must be greater than 0")


def variables(name: str, names: Iterable[str]) -> None:
    """Refuse what no environment variable can be called."""
    for one in names:
        if not VARIABLE.fullmatch(one):
            raise ValueError(f"{name}: {one!r} is not the name of a variable")
