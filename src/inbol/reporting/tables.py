"""One neutral table, three forms: Markdown for the terminal and the README, CSV for machines, LaTeX for papers."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inbol.shards.files import write_text

Style = Literal["plus-minus", "bounds", "plain", "percent"]

ABSENT = "n/a"
"""An empty denominator: nothing to measure here."""
UNPUBLISHED = "not available"
"""A number someone else may have measured, but that could not be read."""
NOT_RUN = "not run"
"""A number that this project could measure, and has not."""

NOTE_WIDTH = 108
"""Characters of a line of notes in Markdown, so that it reads on a terminal."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A number with its 95 % interval, or a text."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Items behind the number."""
    text: str | None = None
    """Printed instead of the number."""
    source: str = ""
    """Where the number comes from, for a footnote; the table numbers them."""

    @property
    def clear_of_zero(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Column:
    """What a column holds and how its numbers are printed."""

    name: str
    style: Style = "plus-minus"
    """`plus-minus`: value and half the interval's width. `bounds`: signed value, bounds, and a star when they exclude 0. `plain`: value.
    `percent`: 100 times the value, two decimals, with half the interval's width where there is one."""
    meaning: str = ""
    """A sentence for the notes."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under columns."""

    name: str
    """Short, for files and anchors: `main`."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """(label, one cell per column)."""
    corner: str = "system"
    """Head of the label column."""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for label, cells in self.rows:
            if len(cells) != len(self.columns):
                raise ValueError(f"table {self.name}: row {label!r} has {len(cells)} cells for {len(self.columns)} columns")

    @property
    def sources(self) -> tuple[str, ...]:
        """The distinct sources of the cells, in the order in which they come up: footnote 1, 2, ..."""
        return tuple(dict.fromkeys(cell.source for _, cells in self.rows for cell in cells if cell.source))

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes, and the sources as footnotes behind them."""
        return self.notes + tuple(f"[{number}] {source}" for number, source in enumerate(self.sources, start=1))

    def mark(self, cell: Cell) -> str:
        """The mark of a cell's footnote, such as ` [2]`; empty where it has none."""
        return f" [{self.sources.index(cell.source) + 1}]" if cell.source else ""


def format_number(value: float, *, signed: bool = False) -> str:
    """Three decimals without the leading zero: `.559`, `-.126`, `1.000`; `signed` adds the plus."""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    if float(text) == 0:
        return "+.000" if signed else ".000"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def format_cell(cell: Cell, style: Style = "plus-minus") -> str:
    """The cell as text."""
    if cell.text is not None:
        return cell.text
    if cell.value is None:
        return ABSENT
    if style == "percent":
        half = f"±{50 * (cell.high - cell.low):.2f}" if cell.low is not None and cell.high is not None and cell.low != cell.high else ""
        return f"{100 * cell.value:.2f}{half}"
    if style == "plain" or cell.low is None or cell.high is None:
        return format_number(cell.value, signed=style == "bounds")
    if style == "bounds":
        star = "*" if cell.clear_of_zero else " "
        return f"{format_number(cell.value, signed=True)} [{format_number(cell.low)}, {format_number(cell.high)}]{star}"
    if cell.low == cell.high:
        return format_number(cell.value)  # every resample agrees, as at a rate of 1: "±.000" would claim a precision that is not there
    return f"{format_number(cell.value)}±{format_number((cell.high - cell.low) / 2)}"


def to_markdown(tables: Sequence[Table], *, heading: str = "") -> str:
    """The tables one below the other, columns aligned so that they read well as plain text too."""
    blocks = [f"## {heading}"] if heading else []
    for table in tables:
        grid = [[table.corner, *(c.name for c in table.columns)]]
        grid += [[label, *_texts(table, cells)] for label, cells in table.rows]
        grid = [[text.replace("|", "\\|") for text in line] for line in grid]
        widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
        lines = [
            "| " + " | ".join(_pad(text, width, left=i == 0) for i, (text, width) in enumerate(zip(line, widths))) + " |" for line in grid
        ]
        rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
        body = "\n".join([lines[0], rule, *lines[1:]])
        notes = "  \n".join("\n".join(textwrap.wrap(note, NOTE_WIDTH)) for note in table.all_notes)  # two blanks: a line break in Markdown
        blocks.append(f"**{table.title}**\n\n{body}" + (f"\n\n{notes}" if notes else ""))
    return "\n\n".join(blocks) + "\n"


def to_csv(tables: Sequence[Table]) -> str:
    """One line per cell: table, row, column, value, low, high, n, text, source. Numbers in full precision, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value", "low", "high", "n", "text", "source"])
    for table in tables:
        for label, cells in table.rows:
            for column, cell in zip(table.columns, cells):
                text = cell.text if cell.text is not None else (ABSENT if cell.value is None else "")
                numbers = ["" if x is None else x for x in (cell.value, cell.low, cell.high, cell.n)]
                writer.writerow([table.name, label, column.name, *numbers, text, cell.source])
    return out.getvalue()


def to_latex(tables: Sequence[Table]) -> str:
    r"""A `table` environment each, for `\usepackage{booktabs}`."""
    blocks = []
    for table in tables:
        head = " & ".join(_tex(text) for text in (table.corner, *(c.name for c in table.columns)))
        rows = [" & ".join(_tex(text) for text in (label, *_texts(table, cells))) + r" \\" for label, cells in table.rows]
        blocks.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_tex(' '.join((table.title + '.', *table.all_notes)))}}}",
                    rf"\label{{tab:{table.name}}}",
                    rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
                    r"\toprule",
                    head + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(blocks) + "\n"


def write_tables(out: Path, name: str, tables: Sequence[Table], *, heading: str) -> None:
    """Write `<name>.md`, `.csv` and `.tex` into `out`."""
    write_text(out / f"{name}.md", to_markdown(tables, heading=heading))
    write_text(out / f"{name}.csv", to_csv(tables))
    write_text(out / f"{name}.tex", to_latex(tables))


def _texts(table: Table, cells: tuple[Cell, ...]) -> list[str]:
    return [format_cell(cell, column.style) + table.mark(cell) for column, cell in zip(table.columns, cells)]


def _pad(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text.strip())
