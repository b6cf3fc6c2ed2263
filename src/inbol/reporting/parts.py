"""One part of a paper's table: rows that were measured here, rows that others published, and rows that could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from inbol.reporting.published import UNITS, PublishedTable
from inbol.reporting.tables import NOT_RUN, UNPUBLISHED, Cell, Column, Table

MEASURED = "measured here"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRow:
    """One row, whoever measured it."""

    label: str
    cells: Mapping[str, Cell]
    """By head of the column; what it lacks prints as `absent`."""
    absent: str = NOT_RUN
    source: str = ""
    """Footnote of its cells, those of `cells` with a source of their own aside."""
    verdict: str = MEASURED
    """Last column: whether it compares with what is measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Columns about one thing, such as one benchmark, for all rows."""

    name: str
    title: str
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = field(default=())


def part_table(part: Part, rows: Sequence[PartRow]) -> Table:
    """The rows under the part's columns, every cell with its source, and a last column on what compares where others' rows stand beside."""
    beside = any(row.verdict != MEASURED for row in rows)
    lines = []
    for row in rows:
        cells = tuple(_sourced(row.cells.get(column.name, Cell(text=row.absent)), row) for column in part.columns)
        lines.append((row.label, (*cells, Cell(text=row.verdict)) if beside else cells))
    columns = (*part.columns, Column("beside what is measured here")) if beside else part.columns
    return Table(part.name, part.title, columns, tuple(lines), notes=part.notes)


def difference_table(part: Part, base: str, rows: Sequence[tuple[str, Mapping[str, Cell]]]) -> Table:
    """Paired differences from the row called `base`, by head of the column; `not run` where one of the two was not."""
    columns = tuple(Column(column.name, "bounds") for column in part.columns)
    lines = tuple((f"{label} vs {base}", tuple(cells.get(column.name, Cell(text=NOT_RUN)) for column in columns)) for label, cells in rows)
    notes = ("Shares, paired: the same items, images and seeds in both rows, resampled together; * interval clear of 0.",)
    return Table(f"{part.name}-differences", f"{part.title}: differences from {base}", columns, lines, corner="pair", notes=notes)


def published_rows(table: PublishedTable, columns: Mapping[str, str], systems: Sequence[str], *, reason: str) -> list[PartRow]:
    """Rows of a published table, all of them where `systems` names none, as shares.

    Args:
        columns: by published column, the head of the column here that is the same quantity.
        reason: why they do not compare with what is measured here; empty where they do.

    Raises:
        ValueError: a system or a column that the published table does not have.
    """
    for kind, asked, known in (("system", systems, [row.system for row in table.rows]), ("column", columns, table.columns)):
        if unknown := [name for name in asked if name not in known]:
            raise ValueError(f"beside: {table.title!r} has no {kind} {unknown[0]!r}; it has {', '.join(known)}")
    scale = UNITS[table.unit]
    rows = []
    for row in table.rows:
        if systems and row.system not in systems:
            continue
        cells = {columns[name]: Cell(value=value / scale) for name, value in zip(table.columns, row.values) if name in columns}
        label = f"{row.system} ({row.size})" if row.size else row.system
        verdict = f"not comparable ({reason})" if reason else "comparable"
        rows.append(PartRow(label=label, cells=cells, absent=UNPUBLISHED, source=table.provenance, verdict=verdict))
    return rows


def unread_row(label: str, source: str) -> PartRow:
    """A row of a paper whose numbers could not be read: every cell is `not available`, with `source` as its footnote."""
    return PartRow(label=label, cells={}, absent=UNPUBLISHED, source=source, verdict=UNPUBLISHED)


def _sourced(cell: Cell, row: PartRow) -> Cell:
    if cell.source or not row.source or (cell.text == NOT_RUN and row.verdict == MEASURED):
        return cell
    return replace(cell, source=row.source)
