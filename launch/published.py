"""Published values by name, and the report of a table that shows them beside what is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from inbol.config.load import ConfigError, from_mapping
from inbol.reporting.benchmarks import BenchmarkFolders, benchmark_tables, measured_cells, reservations
from inbol.reporting.html import render
from inbol.reporting.load import System
from inbol.reporting.published import Beside, Measured, PublishedTable, beside_table
from inbol.reporting.tables import Table, write_tables
from inbol.shards.files import write_text
from launch.compose import CONF, names


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedConfig:
    """A published table beside what is measured: an entry of `published` in a file of `conf/table/`."""

    table: str
    """Name of the file in `conf/published/`."""
    measures: dict[str, str] = field(default_factory=dict)
    """By published column: the measure here that is the same quantity."""
    further: dict[str, str] = field(default_factory=dict)
    """Columns of measures that nobody published, by printed name."""
    not_comparable: str = ""
    """Why the two cannot be compared even on the released files; empty where they can."""


def load_published(name: str) -> PublishedTable:
    """The table `conf/published/<name>.yaml`. Raises ConfigError for a name that does not exist and for every mistake in the file."""
    path = CONF / "published" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError([f"published: there is no {name!r}; there are {', '.join(names(CONF / 'published'))}"])
    return from_mapping(PublishedTable, yaml.safe_load(path.read_text(encoding="utf-8")), f"conf/published/{name}.yaml")


def load_all(published: Sequence[PublishedConfig]) -> dict[str, PublishedTable]:
    """The published tables by name. Raises ConfigError with every mistake, columns that a table does not have included."""
    tables: dict[str, PublishedTable] = {}
    errors: list[str] = []
    for config in published:
        try:
            tables[config.table] = load_published(config.table)
        except ConfigError as error:
            errors += error.errors
            continue
        known = tables[config.table].columns
        errors += [f"published: {config.table} has no column {c!r}; it has {', '.join(known)}" for c in config.measures if c not in known]
    if errors:
        raise ConfigError(errors)
    return tables


def report_published(
    out: Path,
    *,
    title: str,
    published: Sequence[PublishedConfig],
    rows: Sequence[tuple[str, Mapping[str, Sequence[Path]]]],
    seeds: Sequence[int],
    seed: int,
) -> None:
    """Write `table.md|csv|tex` (the published tables beside the measured rows), `details.*` (every measure) and `report.html` into `out`.

    Args:
        rows: printed name, and score folders by benchmark, one per seed.
        seeds: of the training, in the order of the folders.
        seed: of the resampling.
    """
    tables = load_all(published)
    main = [_beside(config, tables[config.table], rows, seeds, seed) for config in published]
    further = details(rows, seed)
    for name, some in (("table", main), ("details", further)):
        write_tables(out, name, some, heading=title if name == "table" else f"{title}: details")
    facts = ["Published values are the authors', from the sources in the footnotes; every mean of theirs is computed here from their rows."]
    page = render(title=title, facts=facts, main=main, details=further, figures=[], gallery=[], sources=[])
    write_text(out / "report.html", page)


def _beside(
    config: PublishedConfig,
    table: PublishedTable,
    rows: Sequence[tuple[str, Mapping[str, Sequence[Path]]]],
    seeds: Sequence[int],
    seed: int,
) -> Table:
    measured, reasons = [], dict.fromkeys([config.not_comparable] if config.not_comparable else [])
    for label, folders in rows:
        own = folders.get(table.benchmark, ())
        where = ", ".join(f"{'/'.join(folder.parts[-2:])} (seed {s})" for folder, s in zip(own, seeds, strict=bool(own)))
        measured.append(Measured(label, measured_cells(own, seed=seed), f"measured here: {where}"))
        reasons |= dict.fromkeys(reservations(own))
    beside = Beside(table=table, measures=config.measures, further=config.further, not_comparable="; ".join(reasons))
    return beside_table(config.table, beside, measured)


def details(rows: Sequence[tuple[str, Mapping[str, Sequence[Path]]]], seed: int) -> list[Table]:
    """Every measure of every benchmark that was run for all rows, and the differences from the first row."""
    benchmarks = list(dict.fromkeys(name for _, folders in rows for name in folders))
    folders: BenchmarkFolders = {name: {label: own.get(name, ()) for label, own in rows} for name in benchmarks}
    systems = [System(name=label, label=label, runs=()) for label, _ in rows]
    run = {
        name: {label: paths for label, paths in by_row.items() if paths and all((path / "scores.json").is_file() for path in paths)}
        for name, by_row in folders.items()
    }
    values, differences = benchmark_tables(run, systems, seed=seed)
    return [*values, *differences]
