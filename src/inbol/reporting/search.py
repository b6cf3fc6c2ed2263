"""The figure of a search: how the best value grew from trial to trial, and the value over every key that was searched."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from inbol.reporting.plots import COLORS, STYLE
from inbol.shards.files import write_bytes

COLUMNS = 3
"""Panels in a row."""
MISSING = "#b91c1c"


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of a search; `value` is None where it has none."""

    number: int
    at: Mapping[str, str]
    """Value by key."""
    value: float | None
    low: float | None = None
    high: float | None = None


def best_so_far(values: Sequence[float | None]) -> list[float | None]:
    """The largest value up to each place; None before the first one."""
    found: list[float | None] = []
    for value in values:
        last = found[-1] if found else None
        found.append(value if last is None else last if value is None else max(last, value))
    return found


def plot_search(path: Path, trials: Sequence[Trial], *, scales: Mapping[str, str], metric: str) -> None:
    """Write the figure.

    Args:
        path: of the PNG.
        trials: in order, one with a value at least.
        scales: of every key, `linear`, `log` or `names`.
        metric: name of the value.
    """
    rows = -(-(1 + len(scales)) // COLUMNS)
    columns = -(-(1 + len(scales)) // rows)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.3 * rows), layout="constrained", squeeze=False, sharey=True)
        panels = list(grid.flat)
        _history(panels[0], trials, metric)
        for panel, (key, scale) in zip(panels[1:], scales.items()):
            _over(panel, trials, key, scale)
        panels[1].set_title("darker: earlier trials")
        for panel in panels[1 + len(scales) :]:
            panel.set_visible(False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
    write_bytes(path, buffer.getvalue())


def _history(axes: Axes, trials: Sequence[Trial], metric: str) -> None:
    known = [trial for trial in trials if trial.value is not None]
    y = [trial.value or 0.0 for trial in known]
    low = [value - (value if trial.low is None else trial.low) for value, trial in zip(y, known, strict=True)]
    high = [(value if trial.high is None else trial.high) - value for value, trial in zip(y, known, strict=True)]
    numbers = [trial.number for trial in known]
    axes.errorbar(numbers, y, yerr=[low, high], fmt="o", markersize=4, color=COLORS[1], elinewidth=0.8, label="trial")
    best = [(trial.number, value) for trial, value in zip(trials, best_so_far([trial.value for trial in trials])) if value is not None]
    axes.step(*zip(*best), where="post", color=COLORS[2], label="best so far")
    missing = [trial.number for trial in trials if trial.value is None]
    if missing:
        axes.plot(missing, [axes.get_ylim()[0]] * len(missing), "x", color=MISSING, label="missing", clip_on=False)
    axes.set(xlabel="trial", ylabel=metric, title=f"{metric} on align-val")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def _over(axes: Axes, trials: Sequence[Trial], key: str, scale: str) -> None:
    known = [trial for trial in trials if trial.value is not None]
    names = list(dict.fromkeys(trial.at[key] for trial in known))
    x = [names.index(trial.at[key]) if scale == "names" else float(trial.at[key]) for trial in known]
    axes.scatter(x, [trial.value or 0.0 for trial in known], s=18, c=[trial.number for trial in known], cmap="viridis")
    axes.set(xlabel=key)
    if scale == "names":
        axes.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
    else:
        axes.set_xscale(scale)
