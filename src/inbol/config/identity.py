"""Which values of a configuration its outputs depend on: all, but for the few that only say how the work is done."""

from __future__ import annotations

import dataclasses
from typing import Any

WORKING = {"working": True}
ADDED = {"added": True}


def working(default: Any) -> Any:
    """A field with this default that no output depends on: another value finds the same stage folder, and takes up what is there."""
    return dataclasses.field(default=default, metadata=WORKING)


def added(default: Any) -> Any:
    """A field that came after folders had been made: its default is what there was before, and finds them."""
    return dataclasses.field(default=default, metadata=ADDED)


def identity(config: Any) -> dict[str, Any]:
    """A stage's configuration as plain values, as `dataclasses.asdict`, without its `working` fields, and without `added` ones at their
    default, at any depth."""
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(config)
        for value in (getattr(config, field.name),)
        if not (field.metadata.get("working") or (field.metadata.get("added") and value == field.default))
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return identity(value)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
