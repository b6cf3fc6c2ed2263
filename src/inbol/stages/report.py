"""`report`: the tables, plots and page of one recipe at one seed."""

from __future__ import annotations

from typing import Any

from inbol.config.stages import ReportStage
from inbol.reporting.build import System, build_report
from inbol.stages.job import Job


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
    )
    answering = main[0]
    return {"rows": len(systems), **{f"{label} T0": cells[0].value for label, cells in answering.rows}}
