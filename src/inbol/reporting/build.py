"""The report of several systems over one or more seeds: tables, plots and the page, from score folders alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inbol.evaluation.calibration import RiskCoverage, risk_coverage
from inbol.reporting import plots
from inbol.reporting.benchmarks import BenchmarkFolders, benchmark_tables
from inbol.reporting.compare import Comparison
from inbol.reporting.content import confidence_table, detail_tables, main_tables
from inbol.reporting.gallery import choose, examples
from inbol.reporting.html import Figure, Source, render
from inbol.reporting.judge import judge_tables
from inbol.reporting.load import Run, System, load_history, load_runs
from inbol.reporting.tables import Table, write_tables
from inbol.shards.files import write_text
from inbol.shards.reader import ImageStore

GALLERY = 16


def build_report(
    out: Path,
    *,
    title: str,
    systems: Sequence[System],
    comparators: Sequence[str] | None = None,
    vqa: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
    benchmarks: BenchmarkFolders | None = None,
) -> list[Table]:
    """Write `table.md|csv|tex` (the main tables), `details.md|csv|tex`, `plots/*.png` and `report.html` into `out`.

    Args:
        systems: rows in order; the first is the base the others are compared with.
        comparators: names of the systems that later rows are compared with, paired; all of them by default.
        vqa: folder of the images, for the gallery; without it the gallery shows the texts alone.
        resamples: bootstrap resamples, over images and over seeds.
        seed: of the resampling and of the choice of examples.
        benchmarks: score folders of the benchmarks; their tables stand behind the main ones, the differences among the details.

    Returns:
        The main tables.

    Raises:
        ValueError: a comparator that is no system, or score folders that cannot be compared (see `load_runs`).
    """
    names = [s.name for s in systems]
    comparators = names if comparators is None else list(comparators)
    if unknown := [c for c in comparators if c not in names]:
        raise ValueError(f"comparators: {', '.join(unknown)} is not among the systems {', '.join(names)}")
    runs = load_runs(systems)
    comparison = Comparison(runs, resamples=resamples, seed=seed)
    measured, differing = benchmark_tables(benchmarks or {}, systems, seed=seed)
    main = [*main_tables(comparison, systems, comparators), *judge_tables(runs, systems), *measured]
    details = [*detail_tables(comparison, systems), confidence_table(comparison.confidence(names[0])), *differing]
    figures = draw(out / "plots", comparison, systems)
    labelled = {s.label: {g.key: g for g in runs[s.name][0].graded} for s in systems}
    items = runs[names[0]][0].items
    chosen = choose(items, count=GALLERY, seed=seed)
    page = render(
        title=title,
        facts=facts(comparison, runs[names[0]]),
        main=main,
        details=details,
        figures=figures,
        gallery=examples(chosen, labelled, read_images([key for key, _ in chosen], vqa)),
        sources=[source(s, i, run) for s in systems for i, run in enumerate(runs[s.name])],
    )
    for name, tables in (("table", main), ("details", details)):
        write_tables(out, name, tables, heading=title if name == "table" else f"{title}: details")
    write_text(out / "report.html", page)
    return main


def response_rows(systems: Sequence[System], *, seed: int) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of the gallery's questions with every system's response and outcome, for a tracker's table; first seed."""
    runs = load_runs(systems)
    labelled = {s.label: {g.key: g for g in runs[s.name][0].graded} for s in systems}
    chosen = choose(runs[systems[0].name][0].items, count=GALLERY, seed=seed)
    rows = [
        [example.image_key, str(example.level), asked.text, ", ".join(asked.answers), asked.kind]
        + [f"{response.text} [{response.outcome}]" for response in asked.responses]
        for example in examples(chosen, labelled, {})
        for asked in example.asked
    ]
    return ["image", "level", "question", "answers", "kind", *labelled], rows


def facts(comparison: Comparison, base: Sequence[Run]) -> list[str]:
    """What a reader must know before the first number."""
    split = base[0].scores.get("split", "?")
    seeds = "1 seed" if comparison.num_seeds == 1 else f"{comparison.num_seeds} seeds (of base and alignment)"
    return [
        f"Split {split}: {comparison.num_questions:,} questions about {comparison.num_images:,} images; {seeds}.",
        f"Intervals: {comparison.method}. A ± is half the interval's width; none is printed where all resamples agree.",
        f"A question is known from confidence c ≥ {comparison.tau:g} on; c is the base's share of right answers among its own samples.",
        "T0: right +1, refused 0, wrong -1, on answerable questions. T1: half T0, half 2 RefR - 1 on all questions beyond the image, "
        "held-out kind included.",
    ]


def draw(folder: Path, comparison: Comparison, systems: Sequence[System]) -> list[Figure]:
    """Every plot, with its caption."""
    base = comparison.runs[systems[0].name]
    main = [run.items.answerable & run.items.seen for run in base]
    confidence = np.concatenate([run.items.confidence[where] for run, where in zip(base, main)])
    level = np.concatenate([run.items.level[where] for run, where in zip(base, main)])
    figures = [
        Figure(
            plots.confidence_histogram(folder / "confidence.png", confidence, level),
            "How sure the base is",
            "Share of right answers among the base's own samples, answerable questions in seen wordings"
            + (", all seeds together." if comparison.num_seeds > 1 else "."),
        ),
        Figure(
            plots.trust_plane(folder / "plane.png", plane_points(comparison, systems, "RefR", "Acc")),
            "Accuracy against refusal rate",
            "Grey lines join equal T0; crossing them upwards is a gain, sliding along one is not. Bars: 95 % intervals.",
        ),
        Figure(
            plots.risk_coverage(folder / "risk_coverage.png", base_curves(base), risk_points(comparison, systems)),
            "Risk against coverage",
            "Lines: the base, refusing below every level of its confidence (which needs sampling) or of its own sequence probability. "
            "A system below the line does what no threshold on that signal does.",
        ),
    ]
    histories = {s.label: [load_history(path) for path in s.train_logs] for s in systems}
    if (curves := plots.training_curves(folder / "training.png", histories)) is not None:
        figures.append(Figure(curves, "Training", "As logged, one line per seed."))
    return figures


def plane_points(comparison: Comparison, systems: Sequence[System], x: str, y: str) -> list[plots.Point]:
    """Every system at two measures of the answerable questions; systems without one of them are left out."""
    points = []
    for s in systems:
        a, b = comparison.cell(s.name, "answerable", x), comparison.cell(s.name, "answerable", y)
        if a.value is not None and b.value is not None:
            points.append(plots.Point(s.label, a.value, b.value, _half(a.low, a.high), _half(b.low, b.high)))
    return points


def risk_points(comparison: Comparison, systems: Sequence[System]) -> list[plots.Point]:
    """Every system at its coverage and risk = 1 - selective accuracy."""
    points = plane_points(comparison, systems, "coverage", "SelAcc")
    return [plots.Point(p.label, p.x, 1 - p.y, p.x_error, p.y_error) for p in points]


def base_curves(base: Sequence[Run]) -> dict[str, list[RiskCoverage]]:
    """Risk-coverage curves of the base by each signal, one per seed, on answerable questions in seen wordings that it answers."""
    curves: dict[str, list[RiskCoverage]] = {"base, by confidence c": [], "base, by sequence probability": []}
    for run in base:
        where = run.items.answerable & run.items.seen & (run.items.value != 0)
        right = (run.items.value[where] == 1).astype(np.float64)
        if where.any():
            curves["base, by confidence c"].append(risk_coverage(run.items.confidence[where], right))
            curves["base, by sequence probability"].append(risk_coverage(np.exp(run.items.logprob[where]), right))
    return {name: per_seed for name, per_seed in curves.items() if per_seed}


def read_images(keys: Sequence[str], vqa: Path | None) -> Mapping[str, bytes]:
    """The encoded images by key; none without a folder."""
    if vqa is None:
        return {}
    store = ImageStore(vqa)
    return {key: store[key] for key in keys if key in store}


def source(system: System, index: int, run: Run) -> Source:
    """Provenance of one row at one seed, from the folder's manifest."""
    threshold = run.scores.get("threshold")
    said = (
        f"refuses below p = {threshold['level']:.3f}, chosen on align-val (T0 {threshold['T0']:.3f}, n {threshold['n']})"
        if threshold
        else ""
    )
    if kept := run.scores.get("calibrated"):
        where = "nowhere" if kept["threshold"] is None else f"from {kept['score']} {kept['threshold']:.3f} nats on"
        said = f"refuses {where}; promised: {kept['guarantee']}"
    if withheld := run.scores.get("withheld by the checkpoint"):
        said = f"{withheld} responses withheld by the checkpoint's calibration.json; {said}".rstrip("; ")
    return Source(
        label=system.label,
        seed_index=index,
        fingerprint=str(run.manifest.get("fingerprint", run.folder.name)),
        revision=str(run.manifest.get("git_revision") or "unknown")[:18],
        folder="/".join(run.folder.parts[-2:]),
        facts=said,
    )


def _half(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else (high - low) / 2


__all__ = ["System", "build_report"]
