"""The points of a sweep side by side: one table, one plot, the best one by a stated number, and those that are missing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.reporting.plots import COLORS, MARKERS, STYLE
from inbol.reporting.search import Trial, plot_search
from inbol.shards.files import write_bytes, write_text

Number = Mapping[str, float | int | None]
"""`value`, `low`, `high` (95 % interval) and `n`, as in scores.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointResult:
    """One point."""

    point: dict[str, str]
    """Value by key."""
    folder: str
    """Its score stage."""
    reason: str = ""
    """Why it is missing."""
    values: dict[str, Number] | None = None
    """Its numbers, by `<slice>/<measure>`; None where it has none."""


def read_points(points: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> list[PointResult]:
    """The points with their numbers, of those whose score stage is complete.

    Raises:
        ValueError: a number that scores do not have; names those of its slice.
    """
    results = []
    for raw in points:
        point = PointResult(point=dict(raw["point"]), folder=str(raw["folder"]), reason=str(raw["reason"]))
        path = Path(point.folder) / "scores.json"
        if (Path(point.folder) / "manifest.json").is_file():
            slices = json.loads(path.read_text(encoding="utf-8"))["slices"]
            values = {name: _number(slices, name) for name in wanted}
            results.append(PointResult(point=point.point, folder=point.folder, values=values))
        else:
            results.append(PointResult(point=point.point, folder=point.folder, reason=point.reason or "not run"))
    return results


def best(points: Sequence[PointResult], metric: str) -> PointResult | None:
    """The point with the largest value; the first of equal ones, None where no point has one."""
    known = [point for point in points if point.values and point.values[metric]["value"] is not None]
    return max(known, key=lambda point: float(point.values[metric]["value"] or 0.0), default=None) if known else None  # type: ignore[index]


def write_report(
    out: Path,
    points: Sequence[PointResult],
    *,
    axes: Sequence[str],
    metric: str,
    columns: Sequence[str],
    scales: Mapping[str, str] | None = None,
) -> str:
    """Write `table.md`, `table.csv` and `plot.png` into `out`; returns the Markdown.

    Args:
        out: folder.
        points: of the sweep, the missing ones too.
        axes: keys that were varied.
        metric: what points are compared by.
        columns: further numbers.
        scales: of a search, whose first axis is the trial: `linear`, `log` or `names` for every other one. A grid has none.
    """
    shown = [metric, *(column for column in columns if column != metric)]
    winner = best(points, metric)
    head = [*axes, *shown]
    rows = [[*(point.point[axis] for axis in axes), *(_cell(point, name) for name in shown)] for point in points]
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *(_line(row, widths) for row in rows)]
    title = f"Sweep over {', '.join(axes)}" if scales is None else f"Search over {', '.join(scales)}"
    text = [f"## {title}, align-val", "", *lines, ""]
    if winner is not None:
        text.append(
            f"best by {metric}: **{_name(winner)}**, {_cell(winner, metric)}; chosen on align-val, one seed, intervals hold item noise."
        )
    text += [f"missing: {_name(point)}: {point.reason}" for point in points if point.values is None]
    markdown = "\n".join(text) + "\n"
    write_text(out / "table.md", markdown)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*axes, *(f"{name} {part}" for name in shown for part in ("value", "low", "high", "n")), "missing"])
    for point in points:
        numbers = [(point.values[name].get(part) if point.values else "") for name in shown for part in ("value", "low", "high", "n")]
        writer.writerow([*(point.point[axis] for axis in axes), *numbers, point.reason if point.values is None else ""])
    write_text(out / "table.csv", table.getvalue())
    if winner is not None and scales is not None:
        plot_search(out / "plot.png", _trials(points, metric), scales=scales, metric=metric)
    elif winner is not None:
        _plot(out / "plot.png", points, axes=axes, metric=metric)
    return markdown


def _trials(points: Sequence[PointResult], metric: str) -> list[Trial]:
    numbers = [(point, point.values[metric] if point.values else dict[str, float | int | None]()) for point in points]
    return [
        Trial(int(point.point["trial"]), point.point, found.get("value"), found.get("low"), found.get("high")) for point, found in numbers
    ]


def _number(slices: Mapping[str, Mapping[str, Number]], name: str) -> Number:
    """`<slice>/<measure>`, where both may hold slashes."""
    for found, measures in slices.items():
        if name.startswith(f"{found}/") and name[len(found) + 1 :] in measures:
            return measures[name[len(found) + 1 :]]
    near = [f"{found}/{measure}" for found, measures in slices.items() for measure in measures if name.startswith(found.split("/")[0])]
    raise ValueError(f"scores have no {name!r}; there are {', '.join(near or slices)}")


def _cell(point: PointResult, name: str) -> str:
    if point.values is None:
        return "missing"
    number = point.values[name]
    value, low, high = number["value"], number["low"], number["high"]
    if value is None:
        return "n/a"
    return f"{value:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def _name(point: PointResult) -> str:
    return " ".join(f"{key}={value}" for key, value in point.point.items())


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _plot(path: Path, points: Sequence[PointResult], *, axes: Sequence[str], metric: str) -> None:
    """The metric over the first axis, a line for each combination of the others."""
    from matplotlib import pyplot as plt

    ticks = list(dict.fromkeys(point.point[axes[0]] for point in points))
    groups: dict[str, list[PointResult]] = {}
    for point in points:
        groups.setdefault(" ".join(f"{axis}={point.point[axis]}" for axis in axes[1:]), []).append(point)
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.5, 4), layout="constrained")
        for number, (label, group) in enumerate(groups.items()):
            known = [point for point in group if point.values and point.values[metric]["value"] is not None]
            x = [ticks.index(point.point[axes[0]]) + 0.06 * (number - (len(groups) - 1) / 2) for point in known]
            numbers = [point.values[metric] for point in known if point.values]
            y = [float(n["value"] or 0.0) for n in numbers]
            low = [value - float(n["low"] if n["low"] is not None else value) for value, n in zip(y, numbers, strict=True)]
            high = [float(n["high"] if n["high"] is not None else value) - value for value, n in zip(y, numbers, strict=True)]
            color, marker = COLORS[(number + 1) % len(COLORS)], MARKERS[number % len(MARKERS)]
            axis.errorbar(x, y, yerr=[low, high], color=color, marker=marker, capsize=3, linewidth=1.2, label=label or None)
        missing = [ticks.index(point.point[axes[0]]) for point in points if point.values is None]
        if missing:
            bottom = axis.get_ylim()[0]
            axis.plot(missing, [bottom] * len(missing), "x", color="#b91c1c", label="missing", clip_on=False)
        axis.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=axes[0], ylabel=metric, title=f"{metric} on align-val")
        if any(groups) or missing:
            axis.legend()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
    write_bytes(path, buffer.getvalue())
