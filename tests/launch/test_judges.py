"""A judge in the plan: a node for every row's responses, and nothing else changes unless it decides."""

from __future__ import annotations

import pytest

from inbol.config.load import ConfigError
from launch.compose import compose_run
from launch.plan import Node, plan


def planned(*overrides: str) -> dict[str, Node]:
    nodes = plan(compose_run("inbol-dpo", "tiny", overrides))
    by_name = {node.name: node for node in nodes}
    assert len(by_name) == len(nodes)
    return by_name


def test_a_second_opinion_adds_nodes_and_changes_scores_alone() -> None:
    before, after = planned("benchmarks=[mohobench,pope]"), planned("benchmarks=[mohobench,pope]", "judge=openai")
    assert set(after) - set(before) == {
        "judge[base]", "judge[sft]", "judge[dpo]",
        "judge[mohobench,base]", "judge[mohobench,threshold]", "judge[mohobench,sft]", "judge[mohobench,dpo]",
    }  # fmt: skip
    changed = {name for name in before if before[name].folder != after[name].folder}
    assert changed == {name for name in before if name.startswith(("score[", "benchmark_score[mohobench"))} | {
        "report", "benchmark_score[pope,threshold]",
    }  # fmt: skip
    assert after["score[threshold]"].inputs["verdicts:base"] is after["judge[base]"]
    assert set(after["score[sft]"].inputs) >= {"verdicts:base", "verdicts:sft"}
    assert "verdicts:dpo" not in after["score[sft]"].inputs
    assert after["judge[mohobench,threshold]"].inputs["threshold"] is after["score[threshold]"]


def test_one_that_decides_sees_the_verdicts_of_every_row() -> None:
    nodes = planned("judge=openai", "judge.decides=true")
    for row in ("base", "threshold", "sft", "dpo"):
        assert {role for role in nodes[f"score[{row}]"].inputs if "verdicts" in role} == {
            "verdicts:base", "verdicts:threshold", "verdicts:sft", "verdicts:dpo",
        }  # fmt: skip
    assert nodes["score[dpo]"].inputs["verdicts:threshold"] is nodes["judge[base]"]


def test_how_fast_it_is_asked_names_no_folder_and_the_model_does() -> None:
    before = planned("judge=openai")
    same = planned("judge=openai", "judge.concurrency=9", "judge.requests_per_minute=1", "judge.timeout_s=9", "judge.cache=/x")
    assert {name: node.folder for name, node in before.items()} == {name: node.folder for name, node in same.items()}
    for change in ("judge.model=other", "judge.max_requests=7"):
        assert planned("judge=openai", change)["judge[dpo]"].folder != before["judge[dpo]"].folder


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["judge=nobody"], "judge: there is no 'nobody'; there are openai, rules"),
        (["judge.modle=x"], "judge.modle: unknown key (value 'x'); did you mean 'model'?"),
        (["judge=openai", "judge.model="], "judge.model: empty; name the model as the server knows it"),
        (["judge=openai", "judge.base_url=localhost:8000"], "judge.base_url: 'localhost:8000' is no address such as"),
        (["judge=openai", "judge.base_url=http://user:secret@host/v1"], "judge.base_url: holds a login"),
        (["judge=openai", "judge.api_key=sk-1"], "judge.api_key: unknown key"),
        (["judge=openai", "judge.key_env=ABSENT_API_KEY"], "judge.key_env: the environment has no ABSENT_API_KEY"),
        (["judge=openai", "judge.max_cost=3"], "judge.max_cost: 3.0 bounds nothing while input_price and output_price are 0"),
        (["judge=openai", "judge.dimensions=[rationality]"], "judge.dimensions: 'rationality' is judged of what the judge found to refuse"),
        (["judge=openai", "judge.dimensions=[beauty]"], "judge.dimensions: 'beauty' is not one of"),
        (["judge.decides=true"], "judge.decides: true needs kind='openai'"),
        (["judge=openai", "judge.rereads=-1"], "judge.rereads: -1 must be at least 0"),
    ],
)
def test_mistakes_are_named_before_anything_starts(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run("inbol-dpo", "tiny", overrides)
    assert says in str(caught.value)
