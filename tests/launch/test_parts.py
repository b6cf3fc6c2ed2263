"""`make table TABLE=inbol-main` and `mohobench`: what they plan, what they refuse, and their reports from real grades."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import shape_samples

from inbol.benchmarks.dataset import to_records
from inbol.benchmarks.registry import BENCHMARKS, open_benchmark
from inbol.benchmarks.scoring import score_benchmark
from inbol.config.load import ConfigError, from_mapping
from inbol.evaluation.items import Items
from inbol.evaluation.suite import suite
from launch.main import main
from launch.parts import BesideConfig, ColumnConfig, PartConfig, QuotedConfig, RowFolders, benchmarks_of, part_tables, report_parts
from launch.table import TableConfig, load_table, plan_table, with_own
from tests.reporting.world import outcomes, write_scores

TABLES = ("inbol-main", "mohobench")
MUTE = "I cannot tell from the image."


def scored(root: Path, benchmark: str, name: str, said: str) -> Path:
    """A score folder of a tiny instance in which every response is `said`."""
    opened, data = open_benchmark(benchmark, seed=0), root / f"data-{benchmark}"
    if not data.exists():
        opened.write_tiny(shape_samples(9), data, seed=0)
    records = to_records(opened.read(data), data)
    result = score_benchmark(opened, records, {r.key: said for r in records}, resamples=20, seed=0)
    folder = root / "benchmark_score" / f"{benchmark}-{name}"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({**result.scores, "made": True}))
    np.save(folder / "samples.npy", result.samples)
    return folder


def row(root: Path, label: str, said: str, *benchmarks: str) -> RowFolders:
    own = write_scores(root / "score" / label, outcomes(label, 0, images=12))
    return RowFolders(label=label, scores=(own,), benchmarks={name: (scored(root, name, label, said),) for name in benchmarks})


@pytest.mark.parametrize("name", TABLES)
def test_measures_that_it_names_exist(tmp_path: Path, name: str) -> None:
    """Every measure is one of the benchmark's tiny instance, every slice one of the suite; a judge's are known by their notes alone."""
    config = load_table(name)
    known: dict[str, list[str]] = {}
    for benchmark in benchmarks_of(config.parts):
        known[benchmark] = json.loads((scored(tmp_path, benchmark, "a", "yes") / "scores.json").read_text())["order"]
    slices = suite(Items.of(outcomes("base", 0, images=12)), tau=0.5, held_out={"other-modality"})
    columns = [column for part in config.parts for column in part.columns]
    assert len(columns) >= 13
    for column in columns:
        judge = {"refusal rate by judge", "rationality", "helpfulness"}
        assert column.measure in (judge if column.judged else slices[column.slice] if column.slice else known[column.benchmark]), column


def test_it_plans_every_row_seed_and_benchmark() -> None:
    """Each training once, whatever shares it; each benchmark on every row; another scale and other seeds by ARGS."""
    config, left = with_own(load_table("inbol-main"), ["seeds=[2]", "dpo.beta=0.2", "scale=smoke"])
    assert (config.scale, config.seeds, left) == ("smoke", (2,), ["dpo.beta=0.2"])
    table = plan_table(config, left)
    assert [row.label for row in table.rows][:4] == ["base", "refusal prompt", "base + threshold", "plain SFT"]
    assert len(table.rows) == 11 and all(set(row.benchmarks) == set(BENCHMARKS) - {"clamber"} for row in table.rows)
    count = {stage: sum(node.stage == stage for node, _ in table.nodes) for stage in ("base", "sft", "dpo", "grpo", "benchmark_data")}
    assert count == {"base": 1, "sft": 3, "dpo": 4, "grpo": 1, "benchmark_data": 6}
    assert {run.scale for run in table.runs} == {"smoke"} and {run.seed for run in table.runs} == {2}
    with pytest.raises(ConfigError, match=r"seeds: 'one' is not a list of whole numbers such as \[0,1,2\]"):
        with_own(config, ["seeds=one"])
    with pytest.raises(ConfigError, match="scale: there is no 'huge'"):
        plan_table(*with_own(config, ["scale=huge"]))


def test_it_plans_7b_models_on_released_files(tmp_path: Path) -> None:
    """A pretrained base, nothing of the tiny world, and the benchmarks that the user has files of."""
    (tmp_path / "questions.jsonl").write_text("one")
    args = [
        "scale=7b",
        "seeds=[0]",
        "model=qwen2.5-vl-7b",
        f"source.path={tmp_path}",
        "benchmarks=[pope]",
        f"benchmark.pope.path={tmp_path}",
    ]
    config = load_table("inbol-main")
    table = plan_table(*with_own(replace(config, entries=config.entries[:3]), args))
    assert {node.config.path for node, _ in table.nodes if node.stage == "benchmark_data"} == {str(tmp_path)}
    assert all(set(row.benchmarks) == {"pope"} for row in table.rows)
    (base,) = [node for node, _ in table.nodes if node.stage == "base"]
    assert base.config.base.kind == "pretrained" and "Qwen2.5-VL" in base.config.base.path


def test_a_dry_table_shows_what_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["table", "--table", "mohobench", "--dry", "seeds=[0]", "scale=smoke", f"runs_dir={tmp_path}"]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert "to run    seed 0  predict[mohobench,dpo]" in out and "table mohobench: 7 rows, 50 of 50 stages to run" in out
    assert "| SFT + SimPO" in out and "not run" in out and not list(tmp_path.iterdir())
    paper = next(line for line in out.splitlines() if line.startswith("| MoHoBench, 28 models"))
    assert (
        paper.count("not available") == 6
        and out.count("| MoHoBench, 28 models") == 2
        and not any(character.isdigit() for character in paper.replace("28", "").replace("[1]", ""))
    )


def test_its_report(tmp_path: Path) -> None:
    """A base that says yes, one that refuses everything, one without scores: rates by hand, pairs, footnotes, no invented number."""
    config = load_table("mohobench")
    config = replace(config, parts=(*config.parts, *(p for p in load_table("inbol-main").parts if p.name == "mm-sap")))
    rows = [
        row(tmp_path, "base", "yes", "mohobench", "mm_sap"),
        row(tmp_path, "mute", MUTE, "mohobench", "mm_sap"),
        RowFolders(label="later", scores=(tmp_path / "absent",), benchmarks={"mohobench": (tmp_path / "absent",)}),
    ]
    quoted = (QuotedConfig(table="truthrl", not_comparable="text only"),)
    out = tmp_path / "out"
    report_parts(
        out, title="T", parts=config.parts, unread=config.unread, quoted=quoted, rows=rows, seeds=(0,), resamples=20, seed=0
    )  # fmt: skip
    with (out / "table.csv").open(encoding="utf-8") as file:
        cells = {(r["table"], r["row"], r["column"]): r for r in csv.DictReader(file)}
    assert [cells["refusal", label, "all"]["value"] for label in ("base", "mute")] == ["0.0", "1.0"]
    assert cells["mm-sap", "mute", "Beyond"]["value"] == "1.0" and cells["mm-sap", "mute", "Basic"]["value"] == "0.0"
    assert cells["refusal", "base", "all"]["source"] == "measured here, mohobench: benchmark_score/mohobench-base (seed 0)"
    assert "recipe: score/base (seed 0)" in cells["own", "base", "T0"]["source"]
    assert {cells[part, "later", head]["text"] for part, head in (("refusal", "all"), ("mm-sap", "T1"), ("own", "T0"))} == {"not run"}
    assert {cells["judged", label, "rationality"]["text"] for label in ("base", "mute", "later")} == {"not run"}
    assert cells["mm-sap", "LLaVA-7b", "Basic"]["value"] == "0.62" and cells["mm-sap", "LLaVA-7b", "T1"]["text"] == "not available"
    verdicts = {
        (r["row"], r["text"]) for (_, _, column), r in cells.items() if column.startswith("beside") and r["row"] not in ("base", "mute")
    }
    assert ("LLaVA-7b", "not comparable (another prompt; tiny instance)") in verdicts and ("later", "measured here") in verdicts
    paper = [r for (_, label, column), r in cells.items() if label.startswith("MoHoBench")]
    assert {part for part, label, _ in cells if label.startswith("MoHoBench")} == {"refusal", "judged", "mm-sap"}
    assert all(r["value"] == "" and r["text"] == "not available" for r in paper)
    details = (out / "details.md").read_text(encoding="utf-8")
    pairs = {line.split("|")[1].strip(): line for line in details.splitlines() if " vs base" in line}
    assert set(pairs) == {"mute vs base", "later vs base"} and "Truthfulness" in details
    assert "| mute vs base  | +1.000 [1.000, 1.000]* |" in details
    assert "not comparable (text only)" in details and "Benchmark mohobench" in details
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "One seed (0); intervals hold item noise, not seed noise." in table and "Tiny instance of mohobench." in table
    assert {p.suffix for p in out.iterdir()} == {".md", ".csv", ".tex", ".html"}


def test_seeds_are_averaged_and_paired(tmp_path: Path) -> None:
    """Two seeds of one system that always refuses and one that never does: 1 and 0, their difference 1 in every resample."""
    column = ColumnConfig(head="all", benchmark="mohobench", measure="refusal rate")
    part = PartConfig(name="p", title="P", columns=(column,))
    rows = [
        RowFolders(label=label, benchmarks={"mohobench": tuple(scored(tmp_path, "mohobench", f"{label}{s}", said) for s in (0, 1))})
        for label, said in (("base", "yes"), ("mute", MUTE))
    ]
    (table,), (pairs,) = part_tables([part], [], rows, seeds=(0, 1), resamples=20, seed=0)
    assert [cells[0].value for _, cells in table.rows] == [0.0, 1.0] and pairs.rows[0][1][0].clear_of_zero
    assert table.notes[0].startswith("In %. Means over 2 seeds (0, 1); intervals hold item and seed noise.")
    assert "mohobench-mute1 (seed 1)" in table.sources[1]


def test_mistakes_are_told_before_anything_starts() -> None:
    column = ColumnConfig(head="Acc", benchmark="pope", measure="accuracy")
    with pytest.raises(ValueError, match="column 'x': name the benchmark or the slice that 'T0' is of"):
        ColumnConfig(head="x", measure="T0")
    with pytest.raises(ValueError, match="no head twice"):
        PartConfig(name="p", title="P", columns=(column, column))
    with pytest.raises(ValueError, match="mm-sap is set beside 'Basic'; columns are Acc"):
        PartConfig(name="p", title="P", columns=(column,), beside=(BesideConfig(table="mm-sap", columns={"Basic": "Basic"}),))
    config = load_table("mohobench")
    beside = BesideConfig(table="mm-sap", columns={"Basic": "Acc"}, systems=("LLaVA-9b",))
    parts = (PartConfig(name="p", title="P", columns=(column,), beside=(beside,)),)
    quoted = (QuotedConfig(table="inbol", not_comparable="x"),)
    with pytest.raises(ConfigError) as error:
        plan_table(replace(config, parts=parts, quoted=quoted), [])
    assert (
        len(error.value.errors) == 2 and "there is no 'inbol'" in error.value.errors[0] and "no system 'LLaVA-9b'" in error.value.errors[1]
    )
    raw = {"title": "t", "scale": "tiny", "seeds": [0], "entries": [{"recipe": "dpo"}]}
    with pytest.raises(ConfigError, match="unread and quoted: they belong to parts"):
        from_mapping(TableConfig, {**raw, "unread": [{"row": "a", "source": "b"}]})


def test_a_measure_that_is_misspelt_is_named(tmp_path: Path) -> None:
    rows = [row(tmp_path, "base", "yes", "pope")]
    for column, message in (
        (ColumnConfig(head="A", benchmark="pope", measure="acuracy"), "pope has no measure 'acuracy'; there are accuracy"),
        (ColumnConfig(head="A", slice="trust", measure="T2"), "no 'T2' in slice 'trust'; there are T1 50/50"),
    ):
        with pytest.raises(ValueError, match=message):
            part_tables([PartConfig(name="p", title="P", columns=(column,))], [], rows, seeds=(0,), resamples=20, seed=0)
