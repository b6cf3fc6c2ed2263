"""Published values: what is refused, means, and the table beside what was measured."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from inbol.reporting.html import render
from inbol.reporting.published import Beside, Measured, PublishedRow, PublishedTable, beside_table
from inbol.reporting.tables import Cell, to_csv, to_latex, to_markdown

TABLE = PublishedTable(
    title="Rates as published",
    benchmark="mub",
    paper="arXiv 2411.02708",
    source="a table of theirs",
    tag="verified",
    unit="%",
    columns=("Acc", "Exp low"),
    rows=(
        PublishedRow(system="Alpha", size="7B", group="open", values=(60.0, 27.42)),
        PublishedRow(system="Beta", group="open", values=(70.0, 30.0)),
        PublishedRow(system="Gamma", group="closed", values=(80.0, 0.0)),
    ),
)
BESIDE = Beside(
    table=TABLE, measures={"Exp low": "explicit T->F/low"}, further={"T->R low": "explicit T->R/low"}, not_comparable="a tiny instance"
)
OURS = (
    Measured("base", {"explicit T->F/low": Cell(0.5, 0.4, 0.6, 12), "explicit T->R/low": Cell(n=0)}, "benchmark_score/abc, seed 0"),
    Measured("CA-DPO", None, ""),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": " "}, "source: empty; a published value without its source does not ship"),
        ({"paper": ""}, "paper: empty"),
        ({"tag": "recalled"}, "tag: 'recalled' is not one of verified, derived; what was not read in the primary source does not ship"),
        ({"tag": "verified-2nd"}, "tag: 'verified-2nd'"),
        ({"unit": "points"}, "unit: 'points' is not one of %, share"),
        ({"columns": ("Acc", "Acc")}, "no column twice"),
        ({"columns": ("Acc",)}, "'Alpha' has 2 values for 1 columns"),
        ({"rows": (TABLE.rows[0], TABLE.rows[0])}, "'Alpha' occurs twice"),
        ({"rows": (PublishedRow(system="A", values=(101.0, 1.0)),)}, "'A' has 101.0 as Acc, outside 0 to 100"),
        ({"unit": "share"}, "outside 0 to 1"),
    ],
)
def test_what_does_not_ship(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        replace(TABLE, **changes)


def test_means_are_computed_from_the_rows() -> None:
    """(60 + 70 + 80)/3 = 70, (27.42 + 30 + 0)/3 = 19.14; open: 65 and 28.71; one closed row has no mean."""
    assert {k: pytest.approx(v) for k, v in TABLE.means().items()} == {"mean of 3": (70.0, 19.14), "mean of 2 open": (65.0, 28.71)}


def test_means_can_be_left_out() -> None:
    table = beside_table("x", replace(BESIDE, table=replace(TABLE, averaged=False)), OURS)
    assert [label for label, _ in table.rows] == ["base", "CA-DPO", "Alpha (7B)", "Beta", "Gamma"]


def test_beside() -> None:
    """50 % ± 10 measured; a measure with no items is n/a, a system without scores not run, an unpublished column not available."""
    table = beside_table("mub-main", BESIDE, OURS)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in to_markdown([table]).splitlines() if line.startswith("|")]
    verdict = "not comparable (a tiny instance)"
    assert lines[0] == ["system", "Acc", "Exp low", "T->R low", "beside what is measured here"]
    assert lines[2:] == [
        ["base", "not available", "50.00±10.00 [1]", "n/a [1]", "measured here"],
        ["CA-DPO", "not available", "not run", "not run", "measured here"],
        ["Alpha (7B)", "60.00 [2]", "27.42 [2]", "not available", verdict],
        ["Beta", "70.00 [2]", "30.00 [2]", "not available", verdict],
        ["Gamma", "80.00 [2]", "0.00 [2]", "not available", verdict],
        ["mean of 3", "70.00 [3]", "19.14 [3]", "not available", verdict],
        ["mean of 2 open", "65.00 [3]", "28.71 [3]", "not available", verdict],
    ]
    assert table.all_notes[1:] == (
        "[1] benchmark_score/abc, seed 0",
        "[2] a table of theirs (arXiv 2411.02708) [verified]",
        "[3] computed here from the rows of a table of theirs (arXiv 2411.02708) [verified]",
    )


def test_sources_in_every_form() -> None:
    table = beside_table("mub-main", BESIDE, OURS)
    cells = {(r["row"], r["column"]): r for r in csv.DictReader(io.StringIO(to_csv([table])))}
    assert cells["Alpha (7B)", "Exp low"]["value"] == "0.2742"
    assert cells["Alpha (7B)", "Exp low"]["source"] == "a table of theirs (arXiv 2411.02708) [verified]"
    assert cells["CA-DPO", "Exp low"]["text"] == "not run"
    tex = to_latex([table])
    assert "27.42 [2]" in tex and "[2] a table of theirs (arXiv 2411.02708) [verified]" in tex
    page = render(title="t", facts=[], main=[table], details=[], figures=[], gallery=[], sources=[])
    assert "27.42 [2]</td>" in page and "[2] a table of theirs (arXiv 2411.02708) [verified]</p>" in page


def test_comparable_and_mistakes() -> None:
    fair = beside_table("x", replace(BESIDE, not_comparable=""), OURS)
    assert fair.rows[2][1][-1].text == "comparable"
    with pytest.raises(ValueError, match="'Imp' is not a column of 'Rates as published'; columns are Acc, Exp low"):
        beside_table("x", replace(BESIDE, measures={"Imp": "a"}), OURS)
    with pytest.raises(ValueError, match="base has no measure 'typo'; there are explicit T->F/low"):
        beside_table("x", replace(BESIDE, measures={"Acc": "typo"}), OURS)
