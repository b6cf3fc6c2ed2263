"""`make table TABLE=mub`: what it plans, what it refuses before anything starts, and its report from real grades."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inbol.benchmarks.dataset import to_records
from inbol.benchmarks.mub import Mub
from inbol.benchmarks.registry import open_benchmark
from inbol.benchmarks.scoring import score_benchmark
from inbol.config.load import ConfigError
from launch.compose import compose_run
from launch.plan import plan
from launch.published import PublishedConfig, report_published
from launch.table import load_table, plan_table
from tests.benchmarks.test_mub import sample

MUB = Mub()


def scored(root: Path, name: str, *, misled: bool) -> Path:
    """A score folder of the tiny instance: every answer right without a note; with one, the hint's word is taken, or not."""
    data = root / "data"
    if not data.exists():
        MUB.write_tiny([sample(i) for i in range(9)], data, seed=0)
    records = to_records(MUB.read(data), data)
    wrong = {"A": "B", "B": "A", "C": "A", "D": "A", "yes": "no", "no": "yes"}
    responses = {
        r.key: wrong[r.gold["answer"]] if misled and r.gold["stage"] == "explicit" and not r.gold["hint_right"] else r.gold["answer"]
        for r in records
    }
    result = score_benchmark(MUB, records, responses, resamples=20, seed=0)
    folder = root / "benchmark_score" / name
    folder.mkdir(parents=True)
    notes = [*result.scores["notes"], *MUB.file_notes(data)]
    (folder / "scores.json").write_text(json.dumps({**result.scores, "notes": notes, "made": True}))
    np.save(folder / "samples.npy", result.samples)
    return folder


def test_it_plans_the_benchmark_alone() -> None:
    """Nothing is sampled and no question of the source is scored; base and refusal prompt share model and items."""
    table = plan_table(load_table("mub"), [])
    stages = [node.stage for node, _ in table.nodes]
    assert sorted(stages) == ["base", "benchmark_data", "benchmark_score", "benchmark_score", "ingest", "predict", "predict"]
    assert [row.label for row in table.rows] == ["base", "refusal prompt"]
    assert all(len(row.benchmarks["mub"]) == 1 and not row.scores for row in table.rows)
    given = plan_table(load_table("mub"), ["benchmark.mub.path=/data/mub"])
    assert {n.stage: n.config.path for n, _ in given.nodes if n.stage == "benchmark_data"} == {"benchmark_data": "/data/mub"}


def test_measures_that_it_names_exist(tmp_path: Path) -> None:
    """Every measure in conf/table/mub.yaml is one that the benchmark has."""
    folder = scored(tmp_path, "a", misled=False)
    known = json.loads((folder / "scores.json").read_text())["order"]
    named = [m for p in load_table("mub").published for m in (*p.measures.values(), *p.further.values())]
    assert len(named) > 15 and set(named) <= set(known)


def test_its_report(tmp_path: Path) -> None:
    """A system misled by every wrong hint: Exp 100 in each tier, Imp 0; one that was not run; the authors' rows not comparable."""
    rows = [
        ("base", {"mub": [scored(tmp_path, "abc", misled=True)]}),
        ("later", {"mub": [tmp_path / "benchmark_score" / "absent"]}),
    ]
    config = load_table("mub")
    report_published(tmp_path / "out", title=config.title, published=config.published, rows=rows, seeds=(0,), seed=0)
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        cells = {(r["table"], r["row"], r["column"]): r for r in csv.DictReader(file)}
    assert cells["mub-main", "base", "Acc"]["value"] == "1.0"
    for tier in ("low", "medium", "high"):
        assert cells["mub-main", "base", f"Exp {tier}"]["value"] == "1.0" and cells["mub-main", "base", f"Imp {tier}"]["value"] == "0.0"
    assert cells["mub-main", "base", "Exp low"]["source"] == "measured here: benchmark_score/abc (seed 0)"
    assert cells["mub-main", "later", "Exp low"]["text"] == "not run"
    assert cells["mub-main", "GPT-4o", "Exp T->R"]["text"] == "not available"
    assert cells["mub-finetuned", "base", "Exp Acc"]["text"] == "not available"
    assert float(cells["mub-low", "glm4v-9b-chat (9B)", "T-F"]["value"]) == pytest.approx(0.1826)
    verdicts = {
        r["table"]: r["text"] for (_, _, column), r in cells.items() if column == "beside what is measured here" and "not" in r["text"]
    }
    assert verdicts == {
        "mub-main": "not comparable (other prompts and hints; tiny instance)",
        "mub-finetuned": "not comparable (fine-tuned on the authors' mix; tiny instance)",
        "mub-low": "not comparable (another run; the released stage 2 leaves the hint out; tiny instance)",
    }
    assert "27.42 [" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    details = (tmp_path / "out" / "details.md").read_text(encoding="utf-8")
    assert "TRUNCATED" in details and "implicit-3 T->R/high" in details
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".md", ".csv", ".tex", ".html"}


def test_mistakes_are_told_before_anything_starts() -> None:
    config = load_table("mub")
    bad = (PublishedConfig(table="mub-mein"), PublishedConfig(table="mub-low", measures={"F-F": "all"}))
    with pytest.raises(ConfigError) as error:
        plan_table(replace(config, published=bad), [])
    assert len(error.value.errors) == 2
    assert "there is no 'mub-mein'; there are bicr, evaluate-idk, mm-sap" in str(error.value)
    assert "mub-low has no column 'F-F'; it has all, T-F, F-T" in str(error.value)


def test_word_noise_by_name() -> None:
    """`<benchmark>+<kind>-<degree>` asks the benchmark's own files with noise."""
    probe = open_benchmark("vqa+swapping-3", seed=7)
    assert (probe.name, probe.degree, probe.seed) == ("vqa+swapping-3", 3, 7)  # type: ignore[attr-defined]
    assert open_benchmark("mub+synonym", seed=0).name == "mub+synonym-5"
    run = compose_run("refusal-prompt", "smoke", ["benchmarks=[vqa,vqa+swapping-3]", "benchmark.vqa.path=/data/vqa"])
    data = [node for node in plan(run) if node.stage == "benchmark_data"]
    assert [(node.config.benchmark, node.config.path) for node in data] == [("vqa", "/data/vqa"), ("vqa+swapping-3", "/data/vqa")]
    with pytest.raises(ConfigError) as error:
        compose_run("refusal-prompt", "smoke", ["benchmarks=[vqa+typo,pope+swapping-x]"])
    assert "kind: 'typo' is not one of misspelling, swapping, synonym" in str(error.value)
    assert "degree of 'swapping-x' is no number" in str(error.value)
