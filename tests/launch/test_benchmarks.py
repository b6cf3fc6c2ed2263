"""Benchmarks in the plan: for every row, before anything is trained, and none where none is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from inbol.config.load import ConfigError
from launch.compose import compose_run
from launch.plan import Node, plan
from launch.table import load_table, plan_table


def planned(*overrides: str, recipe: str = "inbol-dpo") -> dict[str, Node]:
    nodes = plan(compose_run(recipe, "tiny", overrides))
    by_name = {node.name: node for node in nodes}
    assert len(by_name) == len(nodes)
    return by_name


def test_every_row_is_measured_and_the_rest_stays_as_it_is() -> None:
    before, nodes = planned(), planned("benchmarks=[mohobench,pope]")
    added = set(nodes) - set(before)
    assert {name for name in added if "pope" in name} == {
        "benchmark_data[pope]", "predict[pope,base]", "predict[pope,sft]", "predict[pope,dpo]",
        "benchmark_score[pope,base]", "benchmark_score[pope,threshold]", "benchmark_score[pope,sft]", "benchmark_score[pope,dpo]",
    }  # fmt: skip
    assert len(added) == 16 and set(before) <= set(nodes)
    assert {name for name in before if before[name].folder != nodes[name].folder} == {"report"}
    assert list(nodes)[:3] == ["ingest", "benchmark_data[mohobench]", "benchmark_data[pope]"]
    score = nodes["benchmark_score[pope,threshold]"]
    assert score.inputs["predictions"] is nodes["predict[pope,base]"] and score.inputs["threshold"] is nodes["score[threshold]"]
    assert nodes["report"].inputs["benchmark:pope:dpo"] is nodes["benchmark_score[pope,dpo]"]
    assert nodes["predict[pope,dpo]"].inputs["model"] is nodes["dpo"]


def test_a_prompt_that_allows_refusing_is_shown_here_too() -> None:
    nodes = planned("benchmarks=[vqa]", recipe="refusal-prompt")
    assert nodes["predict[vqa,refusal-prompt]"].config.prompt == "allow-refusal"
    assert nodes["predict[vqa,base]"].config.prompt == "plain"


def test_settings_of_one_benchmark_change_that_one() -> None:
    before = planned("benchmarks=[mohobench,pope]")
    after = planned("benchmarks=[mohobench,pope]", "benchmark.pope.max_new_tokens=99", "benchmark.pope.path=tiny")
    changed = {name for name in before if before[name].folder != after[name].folder}
    assert changed == {name for name in before if "pope" in name and "data" not in name} | {"report"}
    assert after["predict[pope,dpo]"].config.predict.max_new_tokens == 99
    assert after["predict[dpo]"].config.predict.max_new_tokens == before["predict[dpo]"].config.predict.max_new_tokens


def test_released_files_count_by_content_and_read_no_other_stage(tmp_path: Path) -> None:
    def data() -> Node:
        return planned("benchmarks=[pope]", f"benchmark.pope.path={tmp_path}")["benchmark_data[pope]"]

    assert data().inputs == {}
    folders = [data().folder]
    for name, text in (("pope_random.json", "one"), ("pope_random.json", "two"), ("sub/notes.jsonl", "one")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        folders.append(data().folder)
    (tmp_path / "a.png").write_bytes(b"1")
    folders.append(data().folder)
    assert len(set(folders)) == 5


def test_choosing_defaults_touches_no_test_image() -> None:
    nodes = planned("benchmarks=[pope]", "eval_split=align-val")
    assert nodes["benchmark_data[pope]"].config.split == "align-val"


def test_tables_show_benchmarks_of_every_row_and_seed() -> None:
    config = load_table("inbol-tiny")
    table = plan_table(replace(config, entries=config.entries[:2], seeds=(0, 1), comparators=()), ["benchmarks=[pope]"])
    assert all(len({node.folder for node in row.benchmarks["pope"]}) == 2 for row in table.rows)
    assert sum(node.stage == "benchmark_data" for node, _ in table.nodes) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmarks=[mohobensch]", "benchmarks: there is no 'mohobensch'; did you mean 'mohobench'?"),
        ("benchmarks=[pope,pope]", "benchmarks: 'pope' is named twice"),
        ("benchmarks=pope", "benchmarks: 'pope' is str, expected a list of str"),
        ("benchmark.pop.path=x", "benchmark: there is no 'pop'; did you mean 'pope'?"),
        ("benchmark.pope.folder=x", "benchmark.pope.folder: unknown key"),
        ("benchmark.pope.max_new_tokens=0", "benchmark.pope.max_new_tokens: 0 must be greater than 0"),
    ],
)
def test_mistakes_are_named_before_anything_starts(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run("inbol-dpo", "tiny", [override])
    assert any(message in error for error in caught.value.errors), caught.value.errors
