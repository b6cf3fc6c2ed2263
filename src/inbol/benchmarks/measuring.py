"""Shares over a benchmark's items, in the form that the bootstrap resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inbol.benchmarks.base import BenchmarkItem, Grade
from inbol.evaluation.metrics import Floats, Mask, Measure, Ratio


class Graded:
    """Columns over the items in their order."""

    def __init__(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> None:
        """Raises ValueError when an item has no grade."""
        if missing := [item.key for item in items if item.key not in grades]:
            raise ValueError(f"{len(missing)} items have no grade, first {missing[0]!r}; a measure is of all items or of none")
        self.items = items
        self.values = [grades[item.key].values for item in items]

    def where(self, test: Callable[[BenchmarkItem, dict[str, Any]], Any]) -> Mask:
        """[N] bool: `test(item, values)`."""
        return np.array([bool(test(item, values)) for item, values in zip(self.items, self.values, strict=True)], dtype=bool)

    def said(self, name: str) -> Mask:
        """[N] bool: the finding `name`; False where there is none."""
        return self.where(lambda item, values: values.get(name))

    def gold(self, name: str, value: Any) -> Mask:
        """[N] bool: `gold[name]` is `value`."""
        return self.where(lambda item, values: item.gold.get(name) == value)

    def number(self, name: str) -> Floats:
        """[N] the finding `name`; 0 where there is none."""
        return np.array([values.get(name) or 0.0 for values in self.values], dtype=np.float64)

    def golds(self, name: str) -> list[str]:
        """The distinct texts of `gold[name]`, sorted, empty ones aside."""
        return sorted({str(item.gold[name]) for item in self.items if item.gold.get(name)})

    @property
    def everywhere(self) -> Mask:
        """[N] True."""
        return np.ones(len(self.items), dtype=bool)


def share(top: Mask | Floats, where: Mask) -> Measure:
    """Mean of `top` over the items of `where`; its value is None where there are none."""
    weight = where.astype(np.float64)
    return Measure((Ratio(top.astype(np.float64) * weight, weight),), n=int(where.sum()))


def precision_recall_f1(found: Mask, due: Mask, where: Mask) -> dict[str, Measure]:
    """Of what is `found` the share that is `due`; of what is due the share found; their harmonic mean 2 TP / (found + due)."""
    both, either = (found & due & where).astype(np.float64), (found & where).astype(np.float64) + (due & where).astype(np.float64)
    f1 = Ratio(2.0 * both, either)
    return {
        "precision": share(due, where & found),
        "recall": share(found, where & due),
        "F1": Measure((f1,), n=int(where.sum())),
    }
