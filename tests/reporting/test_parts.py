"""Parts of a paper's table: who measured a row, what a cell without a number says, and every cell's footnote."""

from __future__ import annotations

import csv
import io

import pytest

from inbol.reporting.parts import Part, PartRow, difference_table, part_table, published_rows, unread_row
from inbol.reporting.published import PublishedRow, PublishedTable
from inbol.reporting.tables import Cell, Column, to_csv, to_markdown

TABLE = PublishedTable(
    title="Board",
    benchmark="mm_sap",
    paper="arXiv 2401.07529",
    source="their README",
    tag="verified",
    unit="%",
    columns=("Basic", "Total"),
    rows=(PublishedRow(system="Alpha", size="7B", values=(62.0, 49.12)), PublishedRow(system="Beta", values=(70.6, 57.82))),
)
PART = Part(
    name="mm-sap",
    title="MM-SAP",
    columns=(Column("Basic", "percent"), Column("Total", "percent"), Column("T1", "percent")),
    notes=("In %.",),
)
BASE = PartRow(label="base", cells={"Basic": Cell(0.5, 0.4, 0.6, 12), "Total": Cell(n=0), "T1": Cell(-0.25)}, source="measured here, a/b")
LATER = PartRow(label="CA-DPO", cells={})


def lines(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_measured_published_and_unread_rows() -> None:
    """50 % ± 10 measured; no items is n/a; a row without scores not run; what nobody published, or nobody could read, not available."""
    beside = published_rows(TABLE, {"Basic": "Basic", "Total": "Total"}, ["Beta"], reason="another prompt; tiny instance")
    table = part_table(PART, [BASE, LATER, *beside, unread_row("InBoL", "arXiv 2412.11196: could not be read")])
    text = to_markdown([table])
    assert lines(text)[0] == ["system", "Basic", "Total", "T1", "beside what is measured here"]
    assert lines(text)[2:] == [
        ["base", "50.00±10.00 [1]", "n/a [1]", "-25.00 [1]", "measured here"],
        ["CA-DPO", "not run", "not run", "not run", "measured here"],
        ["Beta", "70.60 [2]", "57.82 [2]", "not available [2]", "not comparable (another prompt; tiny instance)"],
        ["InBoL", "not available [3]", "not available [3]", "not available [3]", "not available"],
    ]
    assert table.all_notes == (
        "In %.",
        "[1] measured here, a/b",
        "[2] their README (arXiv 2401.07529) [verified]",
        "[3] arXiv 2412.11196: could not be read",
    )
    cells = {(r["row"], r["column"]): r for r in csv.DictReader(io.StringIO(to_csv([table])))}
    assert cells["base", "Basic"]["n"] == "12" and cells["base", "Basic"]["source"] == "measured here, a/b"
    assert cells["Beta", "Total"]["value"] == "0.5782" and cells["InBoL", "T1"]["value"] == ""


def test_without_others_there_is_no_last_column() -> None:
    assert [column.name for column in part_table(PART, [BASE, LATER]).columns] == ["Basic", "Total", "T1"]


def test_all_systems_of_a_table_that_compares() -> None:
    rows = published_rows(TABLE, {"Total": "T"}, [], reason="")
    assert [(row.label, row.cells["T"].value, row.verdict) for row in rows] == [
        ("Alpha (7B)", pytest.approx(0.4912), "comparable"),
        ("Beta", pytest.approx(0.5782), "comparable"),
    ]


def test_what_a_published_table_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="'Board' has no system 'Gamma'; it has Alpha, Beta"):
        published_rows(TABLE, {"Basic": "Basic"}, ["Gamma"], reason="")
    with pytest.raises(ValueError, match="'Board' has no column 'Beyond'; it has Basic, Total"):
        published_rows(TABLE, {"Beyond": "Basic"}, [], reason="")


def test_differences_are_signed_and_starred() -> None:
    table = difference_table(PART, "base", [("SFT", {"Basic": Cell(0.1, 0.02, 0.2), "T1": Cell(-0.1, -0.3, 0.1)}), ("DPO", {})])
    assert lines(to_markdown([table]))[2:] == [
        ["SFT vs base", "+.100 [.020, .200]*", "not run", "-.100 [-.300, .100]"],
        ["DPO vs base", "not run", "not run", "not run"],
    ]
