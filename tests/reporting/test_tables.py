"""One table in three forms."""

from __future__ import annotations

import csv
import io

import pytest

from inbol.reporting.tables import ABSENT, UNPUBLISHED, Cell, Column, Table, format_cell, format_number, to_csv, to_latex, to_markdown

TABLE = Table(
    name="main",
    title="Main",
    columns=(Column("T0"), Column("diff", "bounds"), Column("published", "plain")),
    rows=(
        ("base & co", (Cell(0.5594, 0.54, 0.58, 100), Cell(), Cell(text=UNPUBLISHED))),
        ("CA|DPO", (Cell(-0.1, -0.2, 0.0, 100), Cell(0.031, 0.012, 0.05, 100), Cell(1.0))),
    ),
    notes=("50 % of it.",),
)


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.5594, False, ".559"),
        (-0.126, False, "-.126"),
        (1.0, False, "1.000"),
        (0.9996, False, "1.000"),
        (-0.0001, False, ".000"),
        (0.031, True, "+.031"),
        (-0.0001, True, "+.000"),
        (1.25, True, "+1.250"),
    ],
)
def test_numbers(value: float, signed: bool, text: str) -> None:
    assert format_number(value, signed=signed) == text


def test_cells() -> None:
    """Half of .58 - .54 is .02; a star marks bounds on one side of 0; no ± where every resample agrees."""
    assert format_cell(Cell(0.5594, 0.54, 0.58)) == ".559±.020"
    assert format_cell(Cell(0.031, 0.012, 0.05), "bounds") == "+.031 [.012, .050]*"
    assert format_cell(Cell(0.031, -0.012, 0.05), "bounds") == "+.031 [-.012, .050] "
    assert format_cell(Cell(1.0, 1.0, 1.0)) == "1.000"
    assert format_cell(Cell()) == ABSENT
    assert format_cell(Cell(text=UNPUBLISHED)) == UNPUBLISHED
    assert format_cell(Cell(0.5)) == ".500"


def test_markdown_lines_up_and_keeps_pipes_in_labels() -> None:
    lines = to_markdown([TABLE], heading="Title").splitlines()
    assert lines[:3] == ["## Title", "", "**Main**"]
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1
    assert table[1].replace("-", "").replace(":", "") == "||||" + "|"
    assert "CA\\|DPO" in table[3]
    assert "+.031 [.012, .050]*" in table[3]
    assert lines[-1] == "50 % of it."


def test_csv_has_a_line_per_cell_in_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([TABLE]))))
    assert len(rows) == 6
    assert rows[0] == {
        "table": "main",
        "row": "base & co",
        "column": "T0",
        "value": "0.5594",
        "low": "0.54",
        "high": "0.58",
        "n": "100",
        "text": "",
        "source": "",
    }
    assert (rows[1]["value"], rows[1]["text"]) == ("", ABSENT)
    assert rows[2]["text"] == UNPUBLISHED


def test_latex_is_escaped() -> None:
    text = to_latex([TABLE])
    assert r"base \& co & .559$\pm$.020 & n/a & not available \\" in text
    assert r"\caption{Main. 50 \% of it.}" in text
    assert text.count(r"\begin{tabular}{lrrr}") == text.count(r"\end{tabular}") == 1


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="row 'x' has 1 cells for 2 columns"):
        Table("t", "T", (Column("a"), Column("b")), (("x", (Cell(),)),))
