"""A paper's table: parts with columns by benchmark and measure, others' rows beside the measured ones, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inbol.config.load import ConfigError
from inbol.reporting.benchmarks import MADE, measured_cells, paired_cells, reservations
from inbol.reporting.compare import Comparison
from inbol.reporting.content import main_tables
from inbol.reporting.html import render
from inbol.reporting.load import System, load_runs
from inbol.reporting.parts import Part, PartRow, difference_table, part_table, published_rows, unread_row
from inbol.reporting.published import Beside, beside_table
from inbol.reporting.tables import Cell, Column, Style, Table, write_tables
from inbol.shards.files import write_text
from launch.published import details, load_published

OWN = "recipe"
"""Stands for the recipe's own evaluated split where a benchmark is named otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnConfig:
    """One column of a part."""

    head: str
    """Printed name, unique in the part."""
    measure: str
    """Measure of the benchmark, or of the slice."""
    benchmark: str = ""
    """Benchmark that it is of; empty for the recipe's own split."""
    slice: str = ""
    """Slice of the recipe's own split that it is of (docs/metrics.md)."""
    style: Style = "percent"
    """How its numbers are printed."""
    judged: bool = False
    """Whether a judge gives it: `not run` where none did."""

    def __post_init__(self) -> None:
        if bool(self.benchmark) == bool(self.slice):
            raise ValueError(f"column {self.head!r}: name the benchmark or the slice that {self.measure!r} is of, one of the two")


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideConfig:
    """Published rows in a part."""

    table: str
    """Name of the file in `conf/published/`."""
    columns: dict[str, str]
    """By published column: the head of the column here that is the same quantity."""
    systems: tuple[str, ...] = ()
    """Rows to show; all where empty."""
    not_comparable: str = ""
    """Why they do not compare even on the released files; empty where they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartConfig:
    """Columns about one thing; one printed table."""

    name: str
    title: str
    columns: tuple[ColumnConfig, ...]
    beside: tuple[BesideConfig, ...] = ()
    unread: bool = True
    """Whether the paper's rows that could not be read stand here too."""

    def __post_init__(self) -> None:
        heads = [column.head for column in self.columns]
        if not heads or len(set(heads)) != len(heads):
            raise ValueError(f"part {self.name!r}: it needs columns, and no head twice; got {heads}")
        for beside in self.beside:
            if unknown := [head for head in beside.columns.values() if head not in heads]:
                raise ValueError(f"part {self.name!r}: {beside.table} is set beside {unknown[0]!r}; columns are {', '.join(heads)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadConfig:
    """A row of a paper whose numbers could not be read: `not available` in every column."""

    row: str
    source: str
    """What could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedConfig:
    """A published table that stands among the details whole, with nothing measured in it."""

    table: str
    """Name of the file in `conf/published/`."""
    not_comparable: str
    """Why it does not compare with what is measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFolders:
    """Where one measured row lies: score folders, one per seed; folders that are not there are rows that were not run."""

    label: str
    scores: tuple[Path, ...] = ()
    benchmarks: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def of(self, benchmark: str) -> tuple[Path, ...]:
        """The folders of a benchmark, of the recipe's own split for an empty name."""
        return self.benchmarks.get(benchmark, ()) if benchmark else self.scores


def benchmarks_of(parts: Sequence[PartConfig]) -> list[str]:
    """The benchmarks that the parts have columns of, in their order."""
    return list(dict.fromkeys(column.benchmark for part in parts for column in part.columns if column.benchmark))


def own_split(parts: Sequence[PartConfig]) -> bool:
    """Whether a column is about the recipe's own split."""
    return any(column.slice for part in parts for column in part.columns)


def check(parts: Sequence[PartConfig], quoted: Sequence[QuotedConfig]) -> None:
    """Raises ConfigError with every published table, system and column that is named and does not exist."""
    errors: list[str] = []
    for name in (one.table for one in quoted):
        try:
            load_published(name)
        except ConfigError as error:
            errors += error.errors
    for beside in (beside for part in parts for beside in part.beside):
        try:
            published_rows(load_published(beside.table), beside.columns, beside.systems, reason="")
        except ConfigError as error:
            errors += error.errors
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ConfigError(errors)


def part_tables(
    parts: Sequence[PartConfig],
    unread: Sequence[UnreadConfig],
    rows: Sequence[RowFolders],
    *,
    seeds: Sequence[int],
    resamples: int,
    seed: int,
) -> tuple[list[Table], list[Table]]:
    """(each part's table, their details), from the score folders that are there.

    The details are each part's paired differences from the first row and, where a part has columns of the recipe's own split, the tables
    that a report on it begins with.

    Raises:
        ValueError: a measure that the scores do not have, or rows that were asked different things.
    """
    comparison = _compare(rows, resamples=resamples, seed=seed) if own_split(parts) else None
    main: list[Table] = []
    further: list[Table] = []
    for config in parts:
        cells = {row.label: _cells(config, row, comparison, seed) for row in rows}
        part = Part(
            name=config.name,
            title=config.title,
            columns=tuple(Column(column.head, column.style) for column in config.columns),
            notes=_notes(config, rows, cells, seeds),
        )
        shown = [PartRow(label=row.label, cells=cells[row.label], source=_where(config, row, seeds)) for row in rows]
        kept = [reason for name in benchmarks_of([config]) for row in rows for reason in reservations(row.of(name))]
        for beside in config.beside:
            reason = "; ".join(dict.fromkeys([*([beside.not_comparable] if beside.not_comparable else []), *kept]))
            shown += published_rows(load_published(beside.table), beside.columns, beside.systems, reason=reason)
        shown += [unread_row(one.row, one.source) for one in unread if config.unread]
        main.append(part_table(part, shown))
        if len(rows) > 1:
            paired = [(row.label, _paired(config, row, rows[0], comparison, seed)) for row in rows[1:]]
            further.append(difference_table(part, rows[0].label, paired))
    if comparison is not None:
        systems = [System(name=row.label, label=row.label, runs=row.scores) for row in rows if row.label in comparison.runs]
        further += main_tables(comparison, systems, [systems[0].name])
    return main, further


def report_parts(
    out: Path,
    *,
    title: str,
    parts: Sequence[PartConfig],
    unread: Sequence[UnreadConfig],
    quoted: Sequence[QuotedConfig],
    rows: Sequence[RowFolders],
    seeds: Sequence[int],
    resamples: int,
    seed: int,
) -> None:
    """Write `table.md|csv|tex` (the parts), `details.*` (differences, every measure, quoted tables) and `report.html` into `out`."""
    main, own = part_tables(parts, unread, rows, seeds=seeds, resamples=resamples, seed=seed)
    further = [*own, *details([(row.label, row.benchmarks) for row in rows], seed)]
    further += [quoted_table(one) for one in quoted]
    for name, tables in (("table", main), ("details", further)):
        write_tables(out, name, tables, heading=title if name == "table" else f"{title}: details")
    facts = ["Rows that were measured here stand first; each cell has a footnote with its source. not available: could not be read."]
    page = render(title=title, facts=facts, main=main, details=further, figures=[], gallery=[], sources=[])
    write_text(out / "report.html", page)


def quoted_table(config: QuotedConfig) -> Table:
    """The published table by itself, each row saying why it does not compare."""
    table = load_published(config.table)
    return beside_table(config.table, Beside(table=table, measures={}, further={}, not_comparable=config.not_comparable), [])


def _there(folders: Sequence[Path]) -> bool:
    return bool(folders) and all((folder / "scores.json").is_file() for folder in folders)


def _compare(rows: Sequence[RowFolders], *, resamples: int, seed: int) -> Comparison | None:
    """The rows whose own split was scored under every seed, by label; None where there is none."""
    systems = [System(name=row.label, label=row.label, runs=row.scores) for row in rows if _there(row.scores)]
    return Comparison(load_runs(systems), resamples=resamples, seed=seed) if systems else None


def _cells(part: PartConfig, row: RowFolders, comparison: Comparison | None, seed: int) -> dict[str, Cell]:
    """By head; columns that were not run are left out."""
    measured = {name: measured_cells(row.of(name), seed=seed) for name in benchmarks_of([part])}
    cells: dict[str, Cell] = {}
    for column in part.columns:
        if column.slice:
            if comparison is not None and row.label in comparison.runs:
                cells[column.head] = comparison.cell(row.label, *_known(column, comparison))
        elif (own := measured[column.benchmark]) is not None and not (column.judged and column.measure not in own):
            cells[column.head] = _pick(column, own)
    return cells


def _paired(part: PartConfig, row: RowFolders, base: RowFolders, comparison: Comparison | None, seed: int) -> dict[str, Cell]:
    """By head: the row minus the base; columns that were not run in both are left out."""
    paired = {name: paired_cells(row.of(name), base.of(name), seed=seed) for name in benchmarks_of([part])}
    cells: dict[str, Cell] = {}
    for column in part.columns:
        if column.slice:
            if comparison is not None and {row.label, base.label} <= comparison.runs.keys():
                cells[column.head] = comparison.difference(row.label, base.label, *_known(column, comparison))
        elif (own := paired[column.benchmark]) is not None and not (column.judged and column.measure not in own):
            cells[column.head] = _pick(column, own)
    return cells


def _known(column: ColumnConfig, comparison: Comparison) -> tuple[str, str]:
    if (column.slice, column.measure) not in comparison.columns:
        known = ", ".join(comparison.slices.get(column.slice, comparison.slices))
        raise ValueError(f"column {column.head!r}: the scores have no {column.measure!r} in slice {column.slice!r}; there are {known}")
    return column.slice, column.measure


def _pick(column: ColumnConfig, cells: Mapping[str, Cell]) -> Cell:
    if column.measure not in cells:
        raise ValueError(f"column {column.head!r}: {column.benchmark} has no measure {column.measure!r}; there are {', '.join(cells)}")
    return cells[column.measure]


def _where(part: PartConfig, row: RowFolders, seeds: Sequence[int]) -> str:
    """Footnote of a measured row: the folders of every seed, by benchmark."""
    asked = dict.fromkeys(column.benchmark for column in part.columns)
    named = [
        f"{name or OWN}: " + ", ".join(f"{'/'.join(folder.parts[-2:])} (seed {s})" for folder, s in zip(row.of(name), seeds, strict=True))
        for name in asked
        if _there(row.of(name))
    ]
    return f"measured here, {'; '.join(named)}" if named else ""


def _notes(part: PartConfig, rows: Sequence[RowFolders], cells: Mapping[str, Mapping[str, Cell]], seeds: Sequence[int]) -> tuple[str, ...]:
    """Seeds, counts, and what a reader must know about the files."""
    counted = next((own for own in cells.values() if own), {})
    counts = ", ".join(f"{head} {cell.n}" for head, cell in counted.items() if cell.n is not None)
    many = f"Means over {len(seeds)} seeds ({', '.join(map(str, seeds))}); intervals hold item and seed noise"
    kept: dict[str, list[str]] = {}
    for name in benchmarks_of([part]):
        for reason in dict.fromkeys(reason for row in rows for reason in reservations(row.of(name))):
            kept.setdefault(reason, []).append(name)
    said = [f"{reason} of {', '.join(names)}." + (f" {MADE}" if reason.startswith("tiny") else "") for reason, names in kept.items()]
    percent = ["In %."] if all(column.style == "percent" for column in part.columns) else []
    first = f"{many}." if len(seeds) > 1 else f"One seed ({seeds[0]}); intervals hold item noise, not seed noise."
    return (" ".join([*percent, first]), *([f"n: {counts}."] if counts else []), *(one[0].upper() + one[1:] for one in said))
