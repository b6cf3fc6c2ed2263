"""Whole reports from synthetic score folders, one seed and three."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from inbol.evaluation.items import Items
from inbol.reporting.build import System, build_report
from inbol.reporting.compare import Comparison, pairs
from inbol.reporting.gallery import choose
from inbol.reporting.load import load_runs
from inbol.shards.writer import write_shard
from tests.reporting.world import make_systems, outcomes, vqa_samples, write_scores

NAMES = {
    "base": "base",
    "threshold": "base + threshold",
    "refusal-prompt": "refusal prompt",
    "plain": "plain SFT",
    "idk-it": "IDK-IT",
    "sft": "CA-SFT",
    "hard-dpo": "hard DPO",
    "ca-dpo": "CA-DPO",
}
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects images and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.classes: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.classes += (values.get("class") or "").split()
        if tag == "img":
            self.images.append(values.get("src") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[System]]:
    root = tmp_path_factory.mktemp("report")
    systems = make_systems(root, NAMES, seeds=3)
    write_shard(root / "vqa" / "test-000000.tar", vqa_samples())
    comparators = ["base", "threshold", "plain", "idk-it", "hard-dpo"]
    build_report(root / "out", title="tiny <world>", systems=systems, comparators=comparators, vqa=root / "vqa", resamples=200)
    return root / "out", systems


def test_every_file_is_there(three_seeds: tuple[Path, list[System]]) -> None:
    files = sorted(str(p.relative_to(three_seeds[0])) for p in three_seeds[0].rglob("*") if p.is_file())
    assert files == [
        "details.csv",
        "details.md",
        "details.tex",
        "plots/confidence.png",
        "plots/plane.png",
        "plots/risk_coverage.png",
        "plots/training.png",
        "report.html",
        "table.csv",
        "table.md",
        "table.tex",
    ]


def test_the_terminal_table_fits_and_says_how_it_was_made(three_seeds: tuple[Path, list[System]]) -> None:
    text = (three_seeds[0] / "table.md").read_text()
    lines = text.splitlines()
    assert len(lines) > 40
    assert max(map(len, lines)) <= 110
    for label in NAMES.values():
        assert f"| {label} " in text
    words = " ".join(text.split())
    assert "3 seeds" in words
    assert "200 resamples" in words
    assert "item and seed noise" in words
    assert "n: T0 160" in words  # 40 images x 4 answerable questions in seen wordings
    assert "held out of training: other-modality" in words


def test_cells_are_means_over_seeds(three_seeds: tuple[Path, list[System]]) -> None:
    out, _ = three_seeds
    with (out / "table.csv").open() as file:
        cells = {(r["table"], r["row"], r["column"]): r for r in csv.DictReader(file)}
    by_hand = []
    for seed in range(3):
        items = Items.of(outcomes("base", seed))
        by_hand.append(items.value[items.answerable & items.seen].mean())
    cell = cells["main", "base", "T0"]
    assert float(cell["value"]) == pytest.approx(np.mean(by_hand))
    assert float(cell["low"]) < np.mean(by_hand) < float(cell["high"])
    difference = cells["differences", "CA-DPO vs base", "T0, all"]
    assert float(difference["value"]) == pytest.approx(float(cells["main", "CA-DPO", "T0"]["value"]) - float(cell["value"]))
    assert ("differences", "base vs CA-DPO", "T0, all") not in cells


def test_the_page_is_self_contained_and_escaped(three_seeds: tuple[Path, list[System]]) -> None:
    text = (three_seeds[0] / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.images) == 4 + 16
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert "http" not in text.replace("https://", "http").split("<body>")[0]
    assert page.classes.count("card") == 16
    assert page.classes.count("asked") == 32
    assert "what is it thinking of?" in page.texts
    assert "what <b>shape</b> is in the image?" in "".join(page.texts)  # escaped in the source, whole again as text
    assert "tiny <world>" in page.texts
    assert "f-base-0" in page.texts
    assert {"CORRECT", "REFUSED", "WRONG"} <= set(page.classes)


def test_one_seed_without_images_logs_or_manifests(tmp_path: Path) -> None:
    runs = {name: write_scores(tmp_path / name, outcomes(name, 0), manifest=False) for name in ("base", "dpo")}
    systems = [System(name=name, label=name, runs=(run,)) for name, run in runs.items()]
    main = build_report(tmp_path / "out", title="one", systems=systems, resamples=100)
    assert [table.name for table in main] == ["main", "recall", "differences"]
    assert [label for label, _ in main[2].rows] == ["dpo vs base"]
    assert "item noise, not seed noise" in (tmp_path / "out" / "table.md").read_text().replace("\n", " ")
    assert not (tmp_path / "out" / "plots" / "training.png").exists()
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert page.open == []
    assert len(page.images) == 3
    assert page.classes.count("blank") == 16


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    systems = make_systems(tmp_path, {"base": "base", "ca-dpo": "CA-DPO"}, seeds=2)
    for name in ("a", "b"):
        build_report(tmp_path / name, title="t", systems=systems, resamples=50)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) == 11
    assert [f for f in files if (tmp_path / "a" / f).read_bytes() != (tmp_path / "b" / f).read_bytes()] == []


def test_a_split_without_unsolvable_questions_prints_absent_cells(tmp_path: Path) -> None:
    rows = [r for r in outcomes("base", 0) if r.answerable]
    systems = [System(name="base", label="base", runs=(write_scores(tmp_path / "base", rows),))]
    build_report(tmp_path / "out", title="t", systems=systems, resamples=50)
    with (tmp_path / "out" / "table.csv").open() as file:
        cells = {(r["table"], r["column"]): r["text"] for r in csv.DictReader(file)}
    assert cells["main", "T1"] == "n/a"


def test_systems_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    base = System(name="base", label="base", runs=(write_scores(tmp_path / "base", outcomes("base", 0)),))
    fewer = write_scores(tmp_path / "fewer", outcomes("dpo", 0)[:-8])
    with pytest.raises(ValueError, match="different questions"):
        load_runs([base, System(name="dpo", label="DPO", runs=(fewer,))])
    with pytest.raises(ValueError, match="one score folder per seed"):
        load_runs([base, System(name="dpo", label="DPO", runs=(fewer, fewer))])
    with pytest.raises(ValueError, match="unique"):
        load_runs([base, base])
    with pytest.raises(ValueError, match=r"scores\.json is missing"):
        load_runs([System(name="base", label="base", runs=(tmp_path / "nowhere",))])
    with pytest.raises(ValueError, match="comparators: idk"):
        build_report(tmp_path / "out", title="t", systems=[base], comparators=["idk"])


def test_differences_pair_seeds(tmp_path: Path) -> None:
    """A system against itself differs by nothing in every resample, however far its seeds are apart."""
    runs = tuple(write_scores(tmp_path / f"s{seed}", outcomes("base", seed)) for seed in (0, 1))
    systems = [System(name="a", label="a", runs=runs), System(name="b", label="b", runs=runs)]
    comparison = Comparison(load_runs(systems), resamples=100, seed=0)
    cell = comparison.difference("b", "a", "answerable", "T0")
    assert (cell.value, cell.low, cell.high) == (0.0, 0.0, 0.0)
    wide = comparison.cell("a", "answerable", "T0")
    assert (wide.high or 0) - (wide.low or 0) > 0.05


def test_pairs_name_each_pair_once_the_later_row_first() -> None:
    assert pairs(["base", "sft", "dpo"], ["base", "dpo", "sft"]) == [("sft", "base"), ("dpo", "base"), ("dpo", "sft")]


def test_gallery_takes_all_levels_in_turn_and_ignores_outcomes() -> None:
    """16 images over 4 levels: 4 of each; every image with one answerable question and one beyond the image."""
    first = Items.of(outcomes("base", 0))
    chosen = choose(first, count=16, seed=0)
    levels = [int(first.level[first.keys.index(keys[0])]) for _, keys in chosen]
    assert sorted(levels) == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    for _, keys in chosen:
        assert [bool(first.answerable[first.keys.index(k)]) for k in keys] == [True, False]
    assert choose(Items.of(outcomes("ca-dpo", 5)), count=16, seed=0) == chosen
    assert choose(first, count=16, seed=1) != chosen
    assert len(choose(first, count=100, seed=0)) == 40
