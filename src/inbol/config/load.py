"""Plain mappings into frozen dataclasses: every mistake is collected, and all of them are shown at once, each with its full path."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigError(ValueError):
    """One or more configuration mistakes; the message has one a line, `errors` holds them apart."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(errors))


class _Invalid:
    """Stands for a value that could not be built; its mistake has been noted."""


_INVALID = _Invalid()


def from_mapping(cls: type[T], mapping: Any, path: str = "") -> T:
    """The dataclass `cls` with the values of `mapping`; what is absent takes the default.

    Lists become tuples, ints become floats where a float is expected (so that 1 and 1.0 are the same configuration), bools are never ints.
    `path` is the dotted name of `mapping` in the whole configuration, for messages.

    Raises:
        ConfigError: with every mistake: unknown keys (with the allowed ones), wrong types, missing values, what `__post_init__` refuses.
    """
    errors: list[str] = []
    value = _dataclass(cls, mapping, path, errors)
    if errors or isinstance(value, _Invalid):
        raise ConfigError(errors)
    return typing.cast(T, value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _dataclass(cls: type, mapping: Any, path: str, errors: list[str]) -> Any:
    where = path or cls.__name__
    if not isinstance(mapping, Mapping):
        errors.append(f"{where}: {mapping!r} is {_type_name(mapping)}, expected a mapping of {', '.join(_names(cls))}")
        return _INVALID
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key, value in mapping.items():
        if key not in known:
            errors.append(_unknown(path, str(key), value, list(known)))
    values: dict[str, Any] = {}
    broken = False
    for name, spec in known.items():
        if name in mapping:
            value = _value(hints[name], mapping[name], _join(path, name), errors)
            if not isinstance(value, _Invalid):
                values[name] = value
                continue
            broken = True
        if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            if name not in mapping:
                errors.append(f"{_join(path, name)}: missing, expected {_hint_name(hints[name])}")
            return _missing(cls, mapping, path, errors, hints, after=name)
    built = _build(cls, values, path, errors)
    return _INVALID if broken else built


def _missing(cls: type, mapping: Mapping[str, Any], path: str, errors: list[str], hints: dict[str, Any], after: str) -> Any:
    """`cls` cannot be built, but the fields after `after` are still looked at."""
    names = _names(cls)
    for spec in dataclasses.fields(cls)[names.index(after) + 1 :]:
        if spec.name in mapping:
            _value(hints[spec.name], mapping[spec.name], _join(path, spec.name), errors)
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            errors.append(f"{_join(path, spec.name)}: missing, expected {_hint_name(hints[spec.name])}")
    return _INVALID


def _build(cls: type, values: dict[str, Any], path: str, errors: list[str]) -> Any:
    """`cls(**values)`; a refused field is noted and gives way to its default, so that the next refused field is found too."""
    values = dict(values)
    refused = False
    while True:
        try:
            built = cls(**values)
        except ValueError as error:
            refused = True
            message = str(error)
            name = message.split(":", 1)[0]
            named = name.split(".", 1)[0] in _names(cls)
            errors.append(_join(path, message) if named else f"{path or cls.__name__}: {message}")
            spec = {f.name: f for f in dataclasses.fields(cls)}.get(name)
            optional = spec is not None and not (spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING)
            if name not in values or not optional:
                return _INVALID
            del values[name]
        else:
            return _INVALID if refused else built


def _value(hint: Any, value: Any, path: str, errors: list[str]) -> Any:
    """`value` as `hint`, or `_INVALID` with the mistake noted."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(args, value, path, errors)
    if origin is typing.Literal:
        return value if value in args else _wrong(hint, value, path, errors)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            return _wrong(hint, value, path, errors)
        items = [_value(args[0], item, f"{path}[{i}]", errors) for i, item in enumerate(value)]
        return _INVALID if any(isinstance(item, _Invalid) for item in items) else tuple(items)
    if origin is dict:
        if not isinstance(value, Mapping):
            return _wrong(hint, value, path, errors)
        entries = {str(key): _value(args[1], item, _join(path, str(key)), errors) for key, item in value.items()}
        return _INVALID if any(isinstance(item, _Invalid) for item in entries.values()) else entries
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else _dataclass(typing.cast(type, hint), value, path, errors)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else _wrong(hint, value, path, errors)
    if hint is int and isinstance(value, bool):
        return _wrong(hint, value, path, errors)
    return value if isinstance(value, hint) else _wrong(hint, value, path, errors)


def _union(args: tuple[Any, ...], value: Any, path: str, errors: list[str]) -> Any:
    if value is None and type(None) in args:
        return None
    first: list[str] | None = None
    for arg in args:
        if arg is type(None):
            continue
        own: list[str] = []
        built = _value(arg, value, path, own)
        if not own:
            return built
        first = first or own
    errors.extend(first or [f"{path}: {value!r} is not allowed"])
    return _INVALID


def _wrong(hint: Any, value: Any, path: str, errors: list[str]) -> _Invalid:
    errors.append(f"{path}: {value!r} is {_type_name(value)}, expected {_hint_name(hint)}")
    return _INVALID


def _unknown(path: str, key: str, value: Any, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{_join(path, key)}: unknown key (value {value!r}); {hint}allowed: {', '.join(allowed)}"


def _names(cls: type) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]


def _type_name(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _hint_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"a list of {_hint_name(args[0])}"
    if origin is dict:
        return f"a mapping to {_hint_name(args[1])}"
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_hint_name(arg) for arg in args)
    if hint is type(None):
        return "null"
    if hint is float:
        return "a finite float"
    if dataclasses.is_dataclass(hint):
        return f"a mapping of {', '.join(_names(typing.cast(type, hint)))}"
    return str(getattr(hint, "__name__", hint))
