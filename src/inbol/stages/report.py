"""`report`: the tables, plots and page of one recipe at one seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inbol.config.stages import ReportStage
from inbol.reporting.build import System, build_report, response_rows
from inbol.reporting.tables import Table, format_number
from inbol.shards.manifest import read_manifest
from inbol.stages.job import Job
from inbol.tracking import open_tracker


def run(job: Job) -> dict[str, Any]:
    """Write `report.html`, `table.*`, `details.*` and `plots/` from one score folder per row.

    Raises:
        ValueError: a row without its score folder.
    """
    config: ReportStage = job.config
    if missing := [row for row in config.rows if row not in job.inputs]:
        raise ValueError(f"report: no score folder for row {', '.join(missing)}; inputs are {', '.join(sorted(job.inputs))}")
    systems = [
        System(
            name=row,
            label=config.labels.get(row, row),
            runs=(job.inputs[row],),
            train_logs=(job.inputs[f"train:{row}"],) if f"train:{row}" in job.inputs else (),
        )
        for row in config.rows
    ]
    main = build_report(
        job.out,
        title=config.title,
        systems=systems,
        vqa=job.inputs.get("vqa"),
        resamples=config.score.bootstrap,
        seed=config.score.seed,
        benchmarks=benchmark_folders(job),
    )
    track(job, systems, main)
    answering = main[0]
    return {"rows": len(systems), **{f"{label} T0": cells[0].value for label, cells in answering.rows}}


def benchmark_folders(job: Job) -> dict[str, dict[str, tuple[Path, ...]]]:
    """Score folders by benchmark and row, from the inputs `benchmark:<name>:<row>`."""
    found: dict[str, dict[str, tuple[Path, ...]]] = {}
    for role, folder in job.inputs.items():
        if role.startswith("benchmark:"):
            _, name, row = role.split(":")
            found.setdefault(name, {})[row] = (folder,)
    return found


def track(job: Job, systems: list[System], tables: list[Table]) -> None:
    """Log the final tables, the example responses and the plots where the run's curves are."""
    tracker = open_tracker(
        job.tracker.kind,
        project=job.tracker.project,
        run_name=f"{job.run_name}/report" if job.run_name else "report",
        group=job.run_name or "stages",
        config=job.described() if job.tracker.kind != "none" else {},
        folder=job.out / "tracker",
    )
    for table in tables:
        rows = [[label, *("" if cell.value is None else format_number(cell.value) for cell in cells)] for label, cells in table.rows]
        tracker.table(f"table/{table.name}", [table.corner, *(column.name for column in table.columns)], rows)
    tracker.table("examples/responses", *response_rows(systems, seed=job.config.score.seed))
    for plot in sorted((job.out / "plots").glob("*.png")):
        tracker.image(f"plots/{plot.stem}", plot)
    tracker.summary({f"T0/{label}": cells[0].value for label, cells in tables[0].rows})
    for role, folder in job.inputs.items():
        if role.startswith("train:"):
            made = read_manifest(folder)
            kept = {name: made[name] for name in ("fingerprint", "parents", "git_revision")}
            weights = {name: facts["sha256"] for name, facts in made["files"].items() if name.startswith("checkpoint/")}
            tracker.artifact(f"{made['stage']}-{made['fingerprint']}", folder / "checkpoint", {**kept, "sha256": weights})
    tracker.finish()
