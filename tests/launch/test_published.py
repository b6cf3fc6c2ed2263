"""The published values that ship: where they come from, and that they are what was published."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from inbol.config.load import ConfigError
from inbol.evaluation import metrics
from launch.compose import CONF, names
from launch.published import load_published

LOW_TIER = Path(__file__).resolve().parent.parent / "benchmarks" / "golden" / "mub_low_tier.csv"


@pytest.mark.parametrize("name", names(CONF / "published"))
def test_every_value_says_where_it_comes_from(name: str) -> None:
    values = load_published(name).values()
    assert values
    for value in values:
        assert (
            value.source
            and ("arXiv" in value.source or "github.com" in value.source)
            and value.tag in ("verified", "derived")
            and 0 <= value.value <= 100
        )
    for word in ("inbol", "mohobench"):  # nothing of them could be read
        assert not any(word in value.benchmark.lower() for value in values)


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


def test_t0_is_the_idk_score() -> None:
    """evaluate-idk gives +1, 0, -1 as T0 does. Of 198 (GPQA-Diamond) and 619 (LEXam) questions, the counts that make the printed accuracy
    and share of "I don't know" make the printed score, in all 18 rows, within rounding."""
    rows = load_published("evaluate-idk").rows
    assert [row.group for row in rows] == ["gpqa"] * 11 + ["lexam"] * 7
    for row in rows:
        asked = {"gpqa": 198, "lexam": 619}[row.group]
        accuracy, score, idk = row.values
        right, refused = round(asked * accuracy / 100), round(asked * idk / 100)
        v = np.array([1] * right + [0] * refused + [-1] * (asked - right - refused), dtype=np.int8)
        printed = [100 * (m.value or 0.0) for m in (metrics.acc(v), metrics.refr(v), metrics.t0(v))]
        assert printed == pytest.approx([accuracy, idk, score], abs=0.0051), row.system
        assert 2 * accuracy + idk - 100 == pytest.approx(score, abs=0.0101), row.system


def test_truthrl_truthfulness_is_t0() -> None:
    """Accuracies 48.8 and 56.6 %, of which the abstract has none: with its hallucination rates T0 is its truthfulness."""
    for row, right in zip(load_published("truthrl").rows, (488, 566), strict=True):
        truthfulness, hallucination = row.values
        false = round(10 * hallucination)
        v = np.array([1] * right + [-1] * false + [0] * (1000 - right - false), dtype=np.int8)
        assert 100 * (metrics.t0(v).value or 0.0) == pytest.approx(truthfulness)


def test_say_idk_truthful_is_the_sum_of_two_quadrants() -> None:
    """Truthful = Ik-Ik + Ik-Idk within .01, six rows, by our own truthful rate over 10,000 responses."""
    rows = load_published("say-idk").rows
    assert len(rows) == 6
    for row in rows:
        known, refused, truthful = (round(100 * value) for value in row.values[:3])
        v = np.array([1] * known + [0] * refused + [-1] * (10_000 - known - refused), dtype=np.int8)
        assert metrics.truthful_rate(v, v != 0).value == pytest.approx(truthful / 10_000, abs=1.01e-4), row.system


def test_mub_headlines_are_means_of_printed_averages() -> None:
    """67.19 = mean(45.85, 68.92, 86.79), 80.67 = mean(73.56, 80.77, 87.68), 6.97 = mean(4.8, 8.7, 7.4), 32.77 = mean(22.6, 37.8, 37.9). The
    rows give 80.89 and 33.62 in the implicit columns, as its note says."""
    before, after = (row.values for row in load_published("mub-headlines").rows)
    printed = [(45.85, 68.92, 86.79), (73.56, 80.77, 87.68), (4.8, 8.7, 7.4), (22.6, 37.8, 37.9)]
    assert [sum(three) / 3 for three in printed] == pytest.approx([*before, *after], abs=0.0051)
    main, tuned = load_published("mub-main").means()["mean of 17"], load_published("mub-finetuned").means()["mean of 12"]
    assert sum(main[1:4]) / 3 == pytest.approx(before[0], abs=0.0051)
    assert [sum(main[4:7]) / 3, sum(tuned[4:7]) / 3] == pytest.approx([80.89, 33.62], abs=0.0051)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no 'inbol'; there are bicr, evaluate-idk, mm-sap, mub-finetuned"):
        load_published("inbol")
