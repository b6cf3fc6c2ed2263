"""Engines in the plan: the default names no new folder, another one names its own."""

from __future__ import annotations

import pytest

from inbol.config.load import ConfigError
from launch.compose import compose_run
from launch.plan import Node, plan


def planned(*overrides: str) -> dict[str, Node]:
    return {node.name: node for node in plan(compose_run("inbol-dpo", "tiny", overrides))}


def test_another_engine_samples_and_predicts_anew_and_the_default_does_not() -> None:
    before, same, other = planned(), planned("sampling=tree"), planned("sampling=openai")
    assert {name: node.folder for name, node in before.items()} == {name: node.folder for name, node in same.items()}
    assert before["base"].folder == other["base"].folder
    assert all(before[name].folder != other[name].folder for name in before if name.startswith(("sample", "predict")))
    assert other["predict[dpo]"].config.predict.server == other["sample"].config.sampling.server
    faster = planned("sampling=openai", "sampling.server.concurrency=3")
    assert {name: node.folder for name, node in faster.items()} == {name: node.folder for name, node in other.items()}
    moved = planned("sampling=openai", "sampling.server.base_url=http://127.0.0.1:9/v1")
    assert moved["predict[dpo]"].config.predict.server.base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sampling=tgi"], "sampling: there is no 'tgi'; there are openai, tree, vllm"),
        (["sampling=openai", "sampling.server.model=qwen"], "predict.server.model: 'qwen' would answer for every row, but sft, dpo have"),
        (["sampling=openai", "sampling.temperature=0.5"], "sampling.backend: 'openai' with temperature=0.5"),
        (["sampling=openai", "sampling.server.key_env=ABSENT_TOKEN"], "sampling.server.key_env: the environment has no ABSENT_TOKEN"),
        (["sampling=vllm", "launcher.ranks=2"], "sampling.backend: 'vllm' takes the first GPU in every process; take launcher.ranks=1"),
    ],
)
def test_mistakes_are_named(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_run("inbol-dpo", "tiny", overrides)
    assert says in str(caught.value)
