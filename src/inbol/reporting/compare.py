"""Cells of several systems over several seeds: means with hierarchical intervals, and paired differences under the same resamples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inbol.evaluation.bootstrap import interval, over_seeds, resample
from inbol.evaluation.metrics import Floats
from inbol.evaluation.scores import confidence_quality, interval_method
from inbol.evaluation.suite import contrasts, suite
from inbol.reporting.load import Run
from inbol.reporting.tables import Cell


class Comparison:
    """All measures of all systems, resampled alike.

    Holds [seeds, resamples, measures] floats per system: 8 systems x 3 seeds x 2,000 x 150 are 58 MB.
    """

    def __init__(self, runs: dict[str, list[Run]], *, resamples: int, seed: int) -> None:
        first = next(iter(runs.values()))[0]
        self.runs = runs
        self.resamples, self.seed = resamples, seed
        self.num_seeds = len(next(iter(runs.values())))
        self.num_images = len(first.items.images)
        self.num_questions = len(first.items.keys)
        self.tau: float = first.scores["tau"]
        self.held_out: list[str] = first.scores["held_out"]
        suites = {
            name: [{**suite(r.items, tau=self.tau, held_out=self.held_out), **contrasts(r.items)} for r in runs[name]] for name in runs
        }
        self.slices = {name: list(measures) for name, measures in next(iter(suites.values()))[0].items()}
        self.columns = {(s, m): i for i, (s, m) in enumerate((s, m) for s, measures in self.slices.items() for m in measures)}
        self.values: dict[str, Floats] = {}
        self.counts: dict[str, Floats] = {}
        self.samples: dict[str, Floats] = {}
        for name, per_seed in suites.items():
            flat = [[measures[s][m] for s, m in self.columns] for measures in per_seed]
            self.values[name] = np.array([[np.nan if m.value is None else m.value for m in row] for row in flat])
            self.counts[name] = np.array([[m.n for m in row] for row in flat], dtype=np.float64)
            self.samples[name] = np.stack(
                [
                    resample(row, run.items.image, num_images=self.num_images, resamples=resamples, seed=seed)
                    for row, run in zip(flat, runs[name])
                ]
            )

    @property
    def method(self) -> str:
        """One sentence on the intervals."""
        return interval_method(resamples=self.resamples, num_images=self.num_images, seeds=self.num_seeds)

    def cell(self, system: str, slice_name: str, metric: str) -> Cell:
        """Mean over seeds of one measure; a cell without value where there is nothing to measure."""
        column = self.columns.get((slice_name, metric))
        if column is None:
            return Cell()
        return self._cell(self.values[system][:, column], self.samples[system][:, :, column], self.counts[system][:, column])

    def difference(self, system: str, other: str, slice_name: str, metric: str) -> Cell:
        """Paired: `system` minus `other` on the same items, images and seeds."""
        column = self.columns.get((slice_name, metric))
        if column is None:
            return Cell()
        a, b = self.values[system][:, column], self.values[other][:, column]
        samples = self.samples[system][:, :, column] - self.samples[other][:, :, column]
        return self._cell(a - b, samples, self.counts[system][:, column])

    def confidence(self, base: str) -> dict[str, dict[str, Cell]]:
        """Quality of the base's confidence, by estimator and metric."""
        per_seed = [confidence_quality(run.items, resamples=self.resamples, seed=self.seed) for run in self.runs[base]]
        return {
            name: {
                metric: self._cell(
                    np.array([np.nan if (v := quality[name][metric].value) is None else v for quality in per_seed]),
                    np.stack([quality[name][metric].samples for quality in per_seed]),
                    np.array([quality[name][metric].n for quality in per_seed], dtype=np.float64),
                )
                for metric in metrics
            }
            for name, metrics in per_seed[0].items()
            if all(name in quality for quality in per_seed)
        }

    def _cell(self, values: Floats, samples: Floats, counts: Floats) -> Cell:
        if np.isnan(values).all():
            return Cell(n=int(counts.mean()))
        bounds = interval(over_seeds(samples, seed=self.seed))
        low, high = bounds if bounds else (None, None)
        return Cell(value=float(np.nanmean(values)), low=low, high=high, n=round(float(counts.mean())))


def pairs(names: Sequence[str], comparators: Sequence[str]) -> list[tuple[str, str]]:
    """(system, comparator) for every later row against every comparator, grouped by comparator, each pair once."""
    place = {name: i for i, name in enumerate(names)}
    return [(name, other) for other in comparators for name in names if place[name] > place[other]]
