"""Configuration of `make sweep`: a grid of points, or a space that is searched. No stage reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from inbol.config.checks import at_least, one_of, positive

METRIC = "trust/T1 50/50"
COLUMNS = ("answerable/T0", "over-refusal/c>=.8")
TYPES = ("float", "int", "categorical")
SAMPLERS = ("tpe", "random", "cmaes")


def _never_test(name: str, key: str) -> None:
    if key == "eval_split":
        raise ValueError(f"{name}.eval_split: points are compared on align-val, never on test")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """A file of `conf/sweep/` with a `grid`."""

    grid: dict[str, Any]
    """Values of each key; points are all combinations."""
    metric: str = METRIC
    """`<slice>/<measure>` of the scores; more is better."""
    columns: tuple[str, ...] = COLUMNS
    """Further numbers of the table."""
    limit: int | None = None
    """Points in flight at once with `launcher=slurm`; null is all of them. On one machine they run one after the other."""

    def __post_init__(self) -> None:
        for key, values in self.grid.items():
            if not isinstance(values, list | tuple) or not values:
                raise ValueError(f"grid.{key}: needs a list of values, got {values!r}")
            _never_test("grid", key)
        if self.limit is not None:
            positive("limit", self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What one key of a search may be."""

    type: str
    """`float`, `int` or `categorical`."""
    low: float | None = None
    """Smallest value of a number."""
    high: float | None = None
    """Largest value of a number."""
    log: bool = False
    """Numbers are searched by their logarithm."""
    step: float | None = None
    """Numbers are `low` plus a multiple of it; null is any number, or 1 for `int`."""
    choices: tuple[Any, ...] = ()
    """Values of a `categorical` key; a group such as `dpo` takes its choices."""

    def __post_init__(self) -> None:
        one_of("type", self.type, TYPES)
        if self.type == "categorical":
            self._check_choices()
        else:
            self._check_numbers()

    def _check_choices(self) -> None:
        if len(self.choices) < 2:
            raise ValueError(f"choices: {list(self.choices)!r}; a categorical key needs two choices at least")
        if len({str(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"choices: {list(self.choices)!r} holds one of them twice")
        for name in ("low", "high", "step"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: {getattr(self, name)!r} with type: categorical, which takes choices alone")
        if self.log:
            raise ValueError("log: True with type: categorical, which takes choices alone")

    def _check_numbers(self) -> None:
        if self.choices:
            raise ValueError(f"choices: {list(self.choices)!r} with type: {self.type}, which takes low and high")
        for name in ("low", "high"):
            value = getattr(self, name)
            if value is None:
                raise ValueError(f"{name}: missing, expected a finite float for type: {self.type}")
            self._whole(name, value)
        assert self.low is not None and self.high is not None
        if not self.low < self.high:
            raise ValueError(f"high: {self.high!r} must be greater than low, which is {self.low!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: {self.low!r} must be greater than 0 with log: true")
        if self.step is not None:
            positive("step", self.step)
            self._whole("step", self.step)
            if self.log:
                raise ValueError(f"step: {self.step!r} with log: true; take one of the two")

    def _whole(self, name: str, value: float) -> None:
        if self.type == "int" and not math.isclose(value, round(value), abs_tol=0.0):
            raise ValueError(f"{name}: {value!r} is no whole number, expected one for type: int")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """A file of `conf/sweep/` with a `space`: Optuna chooses the points, each in the light of those before it."""

    space: dict[str, Axis]
    """What each key may be."""
    trials: int
    """Points in all, those that fail included; a larger number goes on with the same study."""
    sampler: str = "tpe"
    """Who chooses: `tpe`, `random` or `cmaes`."""
    startup: int = 10
    """Points that are drawn at random before `tpe` and `cmaes` look at what there is."""
    seed: int = 0
    """Of the sampler."""
    parallel: int = 1
    """Points at a time."""
    metric: str = METRIC
    """`<slice>/<measure>` of the scores; more is better."""
    columns: tuple[str, ...] = COLUMNS
    """Further numbers of the table."""

    def __post_init__(self) -> None:
        for key in self.space:
            _never_test("space", key)
        positive("trials", self.trials)
        one_of("sampler", self.sampler, SAMPLERS)
        at_least("startup", self.startup, 1)
        at_least("seed", self.seed, 0)
        positive("parallel", self.parallel)
        if self.sampler == "cmaes":
            numbers = [key for key, axis in self.space.items() if axis.type != "categorical"]
            if len(numbers) < max(2, len(self.space)):
                raise ValueError("sampler: 'cmaes' needs two keys at least, all of them numbers; expected 'tpe' or 'random' here")
