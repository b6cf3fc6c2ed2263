"""The report's figures. Each function takes plain numbers, writes one PNG and returns its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inbol.evaluation.calibration import RiskCoverage
from inbol.evaluation.metrics import Floats

COLORS = ("#4b5563", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7c3aed", "#84620c", "#111827")
"""Told apart with any colour vision (Okabe-Ito and darker additions); the first, grey, is the base's."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "*")
STYLE = {
    "figure.dpi": 130,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True, slots=True)
class Point:
    """A system in a plane, with half-widths of its intervals (0 where there is none)."""

    label: str
    x: float
    y: float
    x_error: float = 0.0
    y_error: float = 0.0


def confidence_histogram(path: Path, confidence: Floats, level: np.ndarray) -> Path:
    """Histogram of c [N] overall, and by degradation level [N]; bins are centred on 0, .1, ..., 1 as K = 10 gives them."""
    levels = np.unique(level).tolist()
    edges = np.linspace(-0.05, 1.05, 12)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), width_ratios=(1, 1.25), layout="constrained")
        share, _ = np.histogram(confidence, edges)
        axes[0].bar(edges[:-1] + 0.05, share / max(1, len(confidence)), width=0.085, color=COLORS[1])
        axes[0].set(xlabel="confidence c", ylabel="share of questions", title=f"All answerable questions (n = {len(confidence):,})")
        shades = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, max(2, len(levels))))
        for shade, value in zip(shades, levels):
            part = confidence[level == value]
            counts, _ = np.histogram(part, edges)
            axes[1].plot(
                edges[:-1] + 0.05, counts / len(part), color=shade, marker="o", ms=4, label=f"level {value}: mean {part.mean():.2f}"
            )
        axes[1].set(xlabel="confidence c", ylabel="share of the level's questions", title="By degradation level")
        axes[1].set_ylim(bottom=0)
        axes[1].legend()
        return _save(figure, path)


def trust_plane(path: Path, points: Sequence[Point]) -> Path:
    """Accuracy against refusal rate with lines of equal T0 = 2 Acc + RefR - 1; a method pays when it moves across the lines, not along."""
    x = np.array([p.x + sign * p.x_error for p in points for sign in (-1, 1)])
    y = np.array([p.y + sign * p.y_error for p in points for sign in (-1, 1)])
    left, right = _range(x, low=0.0, least=0.1)
    bottom, top = _range(y, low=0.0, least=0.1)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.8, 4.6), layout="constrained")
        axis.grid(visible=False)
        grid_x, grid_y = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
        trust = np.ma.masked_where(grid_x + grid_y > 1, 2 * grid_y + grid_x - 1)
        contours = axis.contour(grid_x, grid_y, trust, levels=np.arange(-1, 1.001, 0.05), colors="#9ca3af", linewidths=0.7)
        axis.clabel(contours, fmt=lambda v: f"T0 {v:.2f}", fontsize=8, colors="#6b7280")
        edge = np.linspace(left, right, 200)
        axis.fill_between(edge, np.minimum(1 - edge, top), top, color="#f3f4f6", lw=0)  # Acc + RefR cannot exceed 1
        _points(axis, points)
        axis.set(xlim=(left, right), ylim=(bottom, top), xlabel="refusal rate (RefR)", ylabel="accuracy (Acc)")
        axis.set_title("Answerable questions: lines of equal trustworthiness")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _save(figure, path)


def risk_coverage(path: Path, curves: Mapping[str, Sequence[RiskCoverage]], points: Sequence[Point]) -> Path:
    """Curves of the base (one line per seed) and every system as a point (coverage, risk): it must lie below, or a threshold would do."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(6.8, 4.6), layout="constrained")
        for (name, per_seed), color, dash in zip(curves.items(), ("#111827", "#9ca3af"), ("-", "--")):
            for i, curve in enumerate(per_seed):
                axis.plot(
                    curve.coverage, curve.risk, dash, color=color, lw=1.5, alpha=1 / len(per_seed) ** 0.5, label=name if i == 0 else None
                )
        _points(axis, points)
        lowest = min((p.x - p.x_error for p in points), default=0.0)
        axis.set(
            xlabel="coverage (share answered)", ylabel="risk (share wrong of the answered)", xlim=(max(0.0, min(0.3, lowest - 0.05)), 1.02)
        )
        axis.set_ylim(bottom=0)
        axis.set_title("The base at every threshold, and each system")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _save(figure, path)


CURVES = {
    "loss": "loss",
    "rewards/accuracies": "chosen preferred (share)",
    "rewards/margins": "reward margin (nats)",
    "logps/chosen": "log-probability of chosen (nats)",
    "honesty/known": "refusal margin, known (nats)",
    "honesty/unknown": "refusal margin, unknown (nats)",
    "honesty/beyond-image": "refusal margin, beyond the image (nats)",
}
"""Logged values worth a panel, in order."""


def training_curves(path: Path, histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> Path | None:
    """A panel per logged value and one line per seed of each system; None when nothing was logged.

    Args:
        histories: by printed name, one list of logged lines (`{"step": 10, "loss": .3, ...}`) per seed. Untrained systems come with no
            list, so that a system has one colour in every figure.
    """
    keys = [k for k in CURVES if any(k in line and "step" in line for seeds in histories.values() for log in seeds for line in log)]
    if not keys:
        return None
    columns = 2 if len(keys) in (2, 4) else min(3, len(keys))
    rows = -(-len(keys) // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(3.4 * columns + 1.6, 2.7 * rows + 0.3), squeeze=False, layout="constrained")
        handles = {}
        for axis, key in zip(grid.flat, keys):
            for i, (name, seeds) in enumerate(histories.items()):
                for log in seeds:
                    points = [(line["step"], line[key]) for line in log if key in line and "step" in line]
                    if points:
                        (handles[name],) = axis.plot(*zip(*points), color=COLORS[i % len(COLORS)], lw=1.3, alpha=1 / len(seeds) ** 0.5)
            axis.set(xlabel="step", title=CURVES[key])
        for axis in list(grid.flat)[len(keys) :]:
            axis.set_visible(False)
        figure.legend(handles.values(), handles.keys(), loc="outside right upper")
        return _save(figure, path)


def _points(axis: Axes, points: Sequence[Point]) -> None:
    """Markers above everything; the intervals thin below them, since a dozen crosses would hide the plane."""
    for i, p in enumerate(points):
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        axis.errorbar(p.x, p.y, p.y_error, p.x_error, color=color, fmt="none", elinewidth=1, alpha=0.4, zorder=2)
        axis.plot(p.x, p.y, color=color, marker=marker, ms=8, mec="white", mew=0.8, lw=0, label=p.label, zorder=4)


def _range(values: Floats, *, low: float, least: float) -> tuple[float, float]:
    """Limits around values in [0, 1]: 15 % margin, at least `least` wide."""
    span = max(least, float(values.max() - values.min()))
    return max(low - 0.02, float(values.min()) - 0.15 * span), min(1.02, float(values.max()) + 0.15 * span)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # no version stamp: equal inputs, equal bytes
    plt.close(figure)
    return path
