"""The published values that ship: where they come from, and that they are what was published."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from inbol.config.load import ConfigError
from launch.compose import CONF, names
from launch.published import load_published

LOW_TIER = Path(__file__).resolve().parent.parent / "benchmarks" / "golden" / "mub_low_tier.csv"


@pytest.mark.parametrize("name", names(CONF / "published"))
def test_every_value_says_where_it_comes_from(name: str) -> None:
    values = load_published(name).values()
    assert len(values) >= 12
    for value in values:
        assert value.source and "arXiv" in value.source and value.tag in ("verified", "derived") and 0 <= value.value <= 100
    assert not any("inbol" in value.benchmark.lower() for value in values)  # nothing of InBoL could be read


def test_mub_column_means() -> None:
    """Means over the rows as computed by hand from the authors' pictures; their printed averages are other numbers in several columns."""
    main = load_published("mub-main").means()
    assert main["mean of 17"][1:] == pytest.approx((45.85, 68.92, 86.79, 73.89, 81.98, 86.81), abs=0.005)
    assert main["mean of 17"][0] == pytest.approx(63.61, abs=0.005) and main["mean of 12 open"][0] == pytest.approx(62.43, abs=0.005)
    assert main["mean of 12 open"][4:] == pytest.approx((76.475, 83.05, 88.12), abs=0.005)
    tuned = load_published("mub-finetuned").means()["mean of 12"]
    assert tuned == pytest.approx((4.78, 8.67, 7.35, 67.68, 25.18, 37.80, 37.89, 66.60), abs=0.0075)
    explicit, implicit = (sum(main["mean of 17"][1:4]) / 3, sum(tuned[4:7]) / 3)
    assert explicit == pytest.approx(67.19, abs=0.005) and implicit == pytest.approx(33.62, abs=0.005)  # the headline says 32.77


def test_low_tier_is_the_authors_file() -> None:
    """Every value of the authors' CSV, whose numbers are texts with a percent sign."""
    with LOW_TIER.open(encoding="utf-8") as file:
        published = {row["model"]: tuple(float(row[c].rstrip("%")) for c in ("all", "T-F", "F-T")) for row in csv.DictReader(file)}
    table = load_published("mub-low")
    assert {row.system: row.values for row in table.rows} == published and len(published) == 12


def test_mm_sap_total_is_the_weighted_mean() -> None:
    """Total = (400 Basic + 350 Know + 368 Beyond) / 1118, within rounding, in all eight rows."""
    rows = load_published("mm-sap").rows
    assert len(rows) == 8
    for row in rows:
        basic, know, beyond, total = row.values
        assert (400 * basic + 350 * know + 368 * beyond) / 1118 == pytest.approx(total, abs=0.0101), row.system


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no 'inbol'; there are mm-sap, mub-finetuned, mub-low, mub-main"):
        load_published("inbol")
