"""Several recipes and seeds side by side: plans all, runs what is missing (stages in common once), reports them in one table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from rich.console import Console

from inbol.config.load import ConfigError, from_mapping
from inbol.config.run import RunConfig, is_trained
from inbol.reporting.build import System, build_report
from inbol.reporting.tables import to_markdown
from inbol.shards.manifest import is_complete
from launch.compose import CONF, compose_run, names
from launch.confidence_table import is_estimator_table, run_estimator_table
from launch.console import Screen
from launch.local import run_nodes
from launch.parts import PartConfig, QuotedConfig, RowFolders, UnreadConfig, benchmarks_of, check, own_split, part_tables, report_parts
from launch.plan import Node, benchmark_nodes, score_nodes
from launch.published import PublishedConfig, load_all, report_published
from launch.rows import labels
from launch.runs import freeze, link, new_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Rows that one recipe contributes."""

    recipe: str
    rows: tuple[str, ...] = ()
    """Rows of the recipe to show; all where empty."""
    overrides: tuple[str, ...] = ()
    """As in ARGS."""
    label: str = ""
    """Printed name where the recipe's is not enough; for entries of one row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """A file of `conf/table/`."""

    title: str
    scale: str
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]
    comparators: tuple[str, ...] = ()
    """Rows, as `<recipe>/<row>`, that every other row is compared with, paired; all where empty."""
    published: tuple[PublishedConfig, ...] = ()
    """Published tables to stand beside the rows; the table is then about their benchmarks alone, and nothing else is scored."""
    parts: tuple[PartConfig, ...] = ()
    """Columns by benchmark and measure, a table for each part; nothing else is reported."""
    unread: tuple[UnreadConfig, ...] = ()
    """Rows of the paper that could not be read: below the measured ones in every part that wants them."""
    quoted: tuple[QuotedConfig, ...] = ()
    """Published tables among the details of the parts."""

    def __post_init__(self) -> None:
        if self.parts and self.published:
            raise ValueError("parts: a table has parts or published tables, not both")
        if (self.unread or self.quoted) and not self.parts:
            raise ValueError("unread and quoted: they belong to parts, and the table has none")
        if not self.seeds or not self.entries:
            raise ValueError("entries: a table needs at least one seed and one entry")
        for entry in self.entries:
            if entry.label and len(entry.rows) != 1:
                raise ValueError(f"entries: the label {entry.label!r} of {entry.recipe} needs exactly one row, got {list(entry.rows)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One row of the table over all seeds."""

    name: str
    """`<recipe>/<row>`, with the overrides behind it where there are any."""
    label: str
    row: str
    scores: tuple[Node, ...]
    """The score stage of every seed."""
    trained: tuple[Node, ...]
    """The training stage of every seed; empty for rows that train nothing."""
    benchmarks: Mapping[str, tuple[Node, ...]] = field(default_factory=dict)
    """The score of every seed, by benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """All that a table needs."""

    config: TableConfig
    runs: tuple[RunConfig, ...]
    """One per entry and seed."""
    nodes: tuple[tuple[Node, RunConfig], ...]
    """Every stage once, inputs first, with a run that asks for it."""
    rows: tuple[PlannedRow, ...]
    vqa: Node | None
    """The images, for the gallery; None for a table about benchmarks alone."""


def load_table(name: str) -> TableConfig:
    """The table `conf/table/<name>.yaml`. Raises ConfigError for a name that does not exist and for every mistake in the file."""
    path = CONF / "table" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError([f"table: there is no {name!r}; there are {', '.join(names(CONF / 'table'))}"])
    return from_mapping(TableConfig, yaml.safe_load(path.read_text(encoding="utf-8")))


def with_own(config: TableConfig, overrides: list[str]) -> tuple[TableConfig, list[str]]:
    """The table at another scale or with other seeds, which ARGS name as `scale=7b` and `seeds=[0,1]`, and the overrides that are left."""
    scale, seeds, left = config.scale, config.seeds, []
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "scale":
            scale = value
        elif key == "seeds":
            try:
                seeds = tuple(int(one) for one in value.strip("[]").split(","))
            except ValueError:
                raise ConfigError([f"seeds: {value!r} is not a list of whole numbers such as [0,1,2]"]) from None
        else:
            left.append(text)
    return replace(config, scale=scale, seeds=seeds), left


def plan_table(config: TableConfig, overrides: list[str]) -> TablePlan:
    """Compose and plan every entry with every seed. Raises ConfigError with the mistakes of all entries."""
    nodes: dict[Path, tuple[Node, RunConfig]] = {}
    rows: list[PlannedRow] = []
    runs: list[RunConfig] = []
    errors: list[str] = []
    vqa: Node | None = None
    check(config.parts, config.quoted)
    asked = sorted({table.benchmark for table in load_all(config.published).values()}) or benchmarks_of(config.parts)
    given = [f"benchmarks=[{','.join(asked)}]"] if asked else []
    nodes_of = benchmark_nodes if asked and not own_split(config.parts) else score_nodes
    for entry in config.entries:
        planned: list[tuple[RunConfig, dict[str, Node]]] = []
        for seed in config.seeds:
            try:
                run = compose_run(entry.recipe, config.scale, [*given, *entry.overrides, *overrides, f"seed={seed}"])
            except ConfigError as error:
                errors += [f"entry {entry.recipe}: {message}" for message in error.errors]
                break
            own, inputs = nodes_of(_with_rows(run, entry))
            for node in own:
                nodes.setdefault(node.folder, (node, run))
            planned.append((run, inputs))
            runs.append(run)
            vqa = inputs.get("vqa")
        if len(planned) < len(config.seeds):
            continue
        first = planned[0][0]
        for row in entry.rows or first.recipe.rows:
            if row not in first.recipe.rows:
                errors.append(f"entry {entry.recipe}: it has no row {row!r}; it has {', '.join(first.recipe.rows)}")
                continue
            rows.append(
                PlannedRow(
                    name=" ".join([f"{entry.recipe}/{row}", *entry.overrides]),
                    label=entry.label or labels(first)[row],
                    row=row,
                    scores=tuple(inputs[row] for _, inputs in planned if row in inputs),
                    trained=tuple(inputs[f"train:{row}"] for _, inputs in planned if f"train:{row}" in inputs),
                    benchmarks={name: tuple(inputs[f"benchmark:{name}:{row}"] for _, inputs in planned) for name in first.benchmarks},
                )
            )
    errors += _check_rows(config, rows) if not errors else []
    if errors:
        raise ConfigError(errors)
    return TablePlan(config=config, runs=tuple(runs), nodes=tuple(nodes.values()), rows=tuple(rows), vqa=vqa)


def _check_rows(config: TableConfig, rows: list[PlannedRow]) -> list[str]:
    """What is wrong with the rows as a whole: a printed name twice, or a comparator that is no row."""
    labelled = [row.label for row in rows]
    twice = sorted({label for label in labelled if labelled.count(label) > 1})
    known = [row.name for row in rows]
    errors = [f"entries: two rows are called {label!r}; give one of them a label" for label in twice]
    return errors + [
        f"comparators: there is no row {name!r}; there are {', '.join(known)}" for name in config.comparators if name not in known
    ]


def _with_rows(run: RunConfig, entry: Entry) -> RunConfig:
    """The run with the rows that the entry shows, and the base that every row is compared with."""
    # which of them is calibrated follows from the rows
    needed = {row for row in run.recipe.rows if is_trained(row)} if "calibrated" in entry.rows else set()
    rows = tuple(row for row in run.recipe.rows if row in ("base", *needed, *entry.rows)) if entry.rows else run.recipe.rows
    return replace(run, recipe=replace(run.recipe, rows=rows))


def run_table(args: argparse.Namespace) -> int:
    """The command `table`."""
    if is_estimator_table(args.table):
        return run_estimator_table(args)
    table = plan_table(*with_own(load_table(args.table), list(args.overrides)))
    if args.dry:
        return _show(args.table, table)
    if table.runs[0].launcher.kind == "slurm":
        raise ConfigError(["launcher: a table is made here; submit its recipes with make train LAUNCHER=slurm, then run make table"])
    folder = new_folder(Path(table.runs[0].runs_dir), f"table-{args.table}")
    screen = Screen(folder / "train.log")
    screen.say(f"table {args.table}: {len(table.rows)} rows, seeds {list(table.config.seeds)}; run folder {folder}")
    for run in table.runs:
        freeze(folder, run, list(args.overrides), f"resolved/{run.recipe.name}-seed{run.seed}.yaml")
    run_nodes(table.nodes, folder.name, screen)
    for row in table.rows:
        for name, nodes in {"": row.scores, **{f"-{benchmark}": own for benchmark, own in row.benchmarks.items()}}.items():
            for seed, node in zip(table.config.seeds, nodes, strict=bool(nodes)):
                link(folder, node, f"{row.name.replace('/', '-').replace(' ', '-')}{name}-seed{seed}")
    report(table, folder / "report")
    screen.table((folder / "report" / "table.md").read_text(encoding="utf-8"))
    screen.say(f"report: {folder / 'report' / 'report.html'}")
    return 0


def report(table: TablePlan, out: Path) -> None:
    """Write the table, the plots and the page of all rows over all seeds into `out`."""
    if table.config.published:
        report_published(
            out,
            title=table.config.title,
            published=table.config.published,
            rows=[(row.label, {name: [n.folder for n in nodes] for name, nodes in row.benchmarks.items()}) for row in table.rows],
            seeds=table.config.seeds,
            seed=table.runs[0].score.seed,
        )
        return
    if table.config.parts:
        score, config = table.runs[0].score, table.config
        report_parts(
            out,
            title=config.title,
            parts=config.parts,
            unread=config.unread,
            quoted=config.quoted,
            rows=_folders(table),
            seeds=config.seeds,
            resamples=score.bootstrap,
            seed=score.seed,
        )
        return
    systems = [
        System(
            name=row.name,
            label=row.label,
            runs=tuple(node.folder for node in row.scores),
            train_logs=tuple(node.folder for node in row.trained),
        )
        for row in table.rows
    ]
    score = table.runs[0].score
    comparators = table.config.comparators or None
    build_report(
        out,
        title=table.config.title,
        systems=systems,
        comparators=comparators,
        vqa=table.vqa.folder if table.vqa else None,
        resamples=score.bootstrap,
        seed=score.seed,
        benchmarks={
            name: {row.name: tuple(node.folder for node in row.benchmarks[name]) for row in table.rows if name in row.benchmarks}
            for name in dict.fromkeys(name for row in table.rows for name in row.benchmarks)
        },
    )


def _folders(table: TablePlan) -> list[RowFolders]:
    """Where the measured rows lie, or will."""
    return [
        RowFolders(
            label=row.label,
            scores=tuple(node.folder for node in row.scores),
            benchmarks={name: tuple(node.folder for node in nodes) for name, nodes in row.benchmarks.items()},
        )
        for row in table.rows
    ]


def _show(name: str, table: TablePlan) -> int:
    console = Console(highlight=False, soft_wrap=True)
    missing = 0
    for node, run in table.nodes:
        complete = is_complete(node.folder)
        missing += not complete
        console.print(f"{'complete' if complete else 'to run':<8}  seed {run.seed}  {node.name:<22} {node.fingerprint}", markup=False)
    if (config := table.config).parts:  # what is there already, and `not run` elsewhere
        score = table.runs[0].score
        so_far, _ = part_tables(
            config.parts, config.unread, _folders(table), seeds=config.seeds, resamples=score.bootstrap, seed=score.seed
        )
        console.print(to_markdown(so_far, heading=config.title), markup=False)
    console.print(f"table {name}: {len(table.rows)} rows, {missing} of {len(table.nodes)} stages to run")
    return 0
