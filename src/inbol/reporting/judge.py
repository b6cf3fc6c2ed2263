"""The table of a judge: how far it agrees with the rules, what it left open, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inbol.reporting.load import Run, System
from inbol.reporting.tables import Cell, Column, Table

COLUMNS = (
    Column("refusal: agreement"),
    Column("refusal: kappa"),
    Column("correctness: agreement"),
    Column("correctness: kappa"),
    Column("judged", "plain"),
    Column("unjudged", "plain"),
    Column("requests", "plain"),
    Column("cost", "plain"),
)


def judge_tables(runs: Mapping[str, Sequence[Run]], systems: Sequence[System]) -> list[Table]:
    """One table where a judge ran, none otherwise; a row for every system and seed."""
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    last: dict[str, Any] = {}
    for system in systems:
        for number, run in enumerate(runs[system.name]):
            if about := run.scores.get("judge", {}):
                label = system.label if len(runs[system.name]) == 1 else f"{system.label}, seed {number + 1}"
                rows.append((label, _cells(about)))
                last = about
    if not last:
        return []
    decides = last["decides"]
    notes = (
        f"Judge: {last['model']}. The other tables are graded by {'the judge' if decides else 'the rules; this is a second opinion'}.",
        "Agreement: share of the judged responses of which rules and judge say the same; kappa: Cohen's, 95 % bootstrap over whole images.",
        "Correctness is compared on responses that the judge takes for answers. The row of a threshold shows the base's responses.",
        "Unjudged responses (unreadable verdicts, server, budget) are never guessed"
        + ("; a question that is unjudged in one row is left out of all." if decides else "."),
    )
    return [Table("judge", "Judge and rules", COLUMNS, tuple(rows), notes=notes)]


def _cells(about: Mapping[str, Any]) -> tuple[Cell, ...]:
    cells = []
    for dimension in ("refusal", "correctness"):
        found = about["agreement"].get(dimension)
        for name in ("agreement", "kappa"):
            cells.append(Cell(n=found["n"], **found[name]) if found and found[name]["value"] is not None else Cell())
    asked = sum(one["asked"] for one in about["dimensions"].values())
    judged = sum(one["judged"] for one in about["dimensions"].values())
    spent = about["spent"]
    return (
        *cells,
        Cell(text=str(judged)),
        Cell(text=str(asked - judged)),
        Cell(text=str(spent["requests"])),
        Cell(text=f"{spent['cost']:g}"),
    )
