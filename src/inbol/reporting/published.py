"""Values that others published, each with its source and how it was read, and tables that show them beside what was measured here.

Nothing ships without a source and a tag; averages are computed from the rows, never taken from print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inbol.reporting.tables import NOT_RUN, UNPUBLISHED, Cell, Column, Table

TAGS = ("verified", "derived")
"""`verified`: read in the primary source. `derived`: computed from such values."""
UNITS = {"%": 100.0, "share": 1.0}
"""What a value is divided by to become a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One system of a published table."""

    system: str
    values: tuple[float, ...]
    """In the order of the table's columns, in its unit."""
    size: str = ""
    """Parameters, as printed: `7B`; empty where unknown."""
    group: str = ""
    """Rows of one group get a mean of their own: `open`, `closed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedValue:
    """One published number with all that one must say when quoting it."""

    benchmark: str
    system: str
    metric: str
    value: float
    unit: str
    source: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A file of `conf/published/`."""

    title: str
    benchmark: str
    """Name of the benchmark."""
    paper: str
    """Where the authors describe it: `arXiv 2411.02708`."""
    source: str
    """Where the values were read."""
    tag: str
    """One of `TAGS`."""
    unit: str
    """One of `UNITS`."""
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = ()
    averaged: bool = True
    """Whether means over the rows are shown; a before and an after, or methods of one paper, have none worth printing."""

    def __post_init__(self) -> None:
        for name in ("title", "benchmark", "paper", "source"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: empty; a published value without its source does not ship")
        if self.tag not in TAGS:
            raise ValueError(f"tag: {self.tag!r} is not one of {', '.join(TAGS)}; what was not read in the primary source does not ship")
        if self.unit not in UNITS:
            raise ValueError(f"unit: {self.unit!r} is not one of {', '.join(UNITS)}")
        if not self.columns or not self.rows or len(set(self.columns)) != len(self.columns):
            raise ValueError("columns: a table needs rows and columns, and no column twice")
        systems = [row.system for row in self.rows]
        if twice := sorted({name for name in systems if systems.count(name) > 1}):
            raise ValueError(f"rows: {twice[0]!r} occurs twice")
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"rows: {row.system!r} has {len(row.values)} values for {len(self.columns)} columns")
            for column, value in zip(self.columns, row.values):
                if not 0 <= value <= UNITS[self.unit]:
                    raise ValueError(f"rows: {row.system!r} has {value} as {column}, outside 0 to {UNITS[self.unit]:g}")

    @property
    def provenance(self) -> str:
        """One sentence for a footnote."""
        return f"{self.source} ({self.paper}) [{self.tag}]"

    def values(self) -> list[PublishedValue]:
        """Every number on its own."""
        return [
            PublishedValue(
                benchmark=self.benchmark,
                system=row.system,
                metric=column,
                value=value,
                unit=self.unit,
                source=f"{self.source} ({self.paper})",
                tag=self.tag,
            )
            for row in self.rows
            for column, value in zip(self.columns, row.values)
        ]

    def means(self) -> dict[str, tuple[float, ...]]:
        """Column means over all rows, and over each group of several, by label, in the table's unit; computed from the rows."""
        groups = {"": self.rows}
        for name in dict.fromkeys(row.group for row in self.rows if row.group):
            groups[name] = tuple(row for row in self.rows if row.group == name)
        return {
            f"mean of {len(rows)}{' ' + name if name else ''}": tuple(
                math.fsum(row.values[i] for row in rows) / len(rows) for i in range(len(self.columns))
            )
            for name, rows in groups.items()
            if len(rows) > 1
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One system that was measured here."""

    label: str
    cells: Mapping[str, Cell] | None
    """By measure; None where it was not run."""
    source: str
    """Where from, for a footnote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """How a published table stands beside measured systems."""

    table: PublishedTable
    measures: Mapping[str, str]
    """By published column: the measure that is the same quantity. Columns without one are `not available` here."""
    further: Mapping[str, str]
    """Further columns by their printed name, for measures that nobody published."""
    not_comparable: str
    """Why the two cannot be compared; empty where they can."""


def beside_table(name: str, beside: Beside, measured: Sequence[Measured]) -> Table:
    """The measured systems, then the published ones and their means, each cell with its source.

    Every published row says in its last column whether it can be compared with the measured ones.

    Raises:
        ValueError: a column that the published table does not have, or a measure that was not measured.
    """
    table = beside.table
    if unknown := [column for column in beside.measures if column not in table.columns]:
        raise ValueError(f"measures: {unknown[0]!r} is not a column of {table.title!r}; columns are {', '.join(table.columns)}")
    verdict = f"not comparable ({beside.not_comparable})" if beside.not_comparable else "comparable"
    columns = [*(Column(column, "percent") for column in (*table.columns, *beside.further)), Column("beside what is measured here")]
    rows: list[tuple[str, tuple[Cell, ...]]] = []
    for system in measured:
        wanted = [*(beside.measures.get(column) for column in table.columns), *beside.further.values()]
        rows.append((system.label, (*(_measured(system, measure) for measure in wanted), Cell(text="measured here"))))
    scale = UNITS[table.unit]
    absent = tuple(Cell(text=UNPUBLISHED) for _ in beside.further)
    for row in table.rows:
        cells = tuple(Cell(value=value / scale, source=table.provenance) for value in row.values)
        label = f"{row.system} ({row.size})" if row.size else row.system
        rows.append((label, (*cells, *absent, Cell(text=verdict))))
    for label, values in (table.means() if table.averaged else {}).items():
        computed = f"computed here from the rows of {table.provenance}"
        cells = tuple(Cell(value=value / scale, source=computed) for value in values)
        rows.append((label, (*cells, *absent, Cell(text=verdict))))
    return Table(name, table.title, tuple(columns), tuple(rows), notes=(f"In {table.unit}.", *table.notes))


def _measured(system: Measured, measure: str | None) -> Cell:
    if measure is None:
        return Cell(text=UNPUBLISHED)
    if system.cells is None:
        return Cell(text=NOT_RUN)
    if measure not in system.cells:
        raise ValueError(f"measures: {system.label} has no measure {measure!r}; there are {', '.join(system.cells)}")
    cell = system.cells[measure]
    return Cell(value=cell.value, low=cell.low, high=cell.high, n=cell.n, text=cell.text, source=system.source)
