"""`make table TABLE=confidence`: what it plans, and the whole of it at the smallest scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from inbol.config.estimating import ESTIMATORS
from inbol.config.load import ConfigError, from_mapping
from launch.compose import compose_run
from launch.confidence_table import EstimatorTable, is_estimator_table, load_estimator_table, make, plan_estimators
from launch.main import main
from launch.plan import plan


def test_it_shares_the_base_and_the_samples_with_the_recipes() -> None:
    """Each seed's base, samples and fresh samples are those of inbol-dpo; the probe is trained on align-train."""
    config = load_estimator_table("confidence")
    assert is_estimator_table("confidence") and not is_estimator_table("inbol-tiny") and config.estimators == ESTIMATORS
    planned = plan_estimators(config, [])
    assert [one.run.seed for one in planned] == [0, 1, 2]
    for one in planned:
        own = {node.folder for node in plan(compose_run("inbol-dpo", "tiny", [f"seed={one.run.seed}"]))}
        assert {node.name for node in one.nodes if node.folder not in own} == {"probe[test]", "probe[align-train]", "estimate[test]"}
        inputs = one.scores.inputs
        assert inputs["train_probe"].config.splits == ("align-train",) and inputs["train_probe"].config.asks == ("state",)
        assert inputs["probe"].config.splits == ("test",) and inputs["responses"].config.sampling.fresh == 10


def test_mistakes_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"title": "t", "recipe": "inbol-dpo", "scale": "tiny", "seeds": [0], "estimators": ["luck"]}
    with pytest.raises(ConfigError, match="estimators: 'luck' is not one of"):
        from_mapping(EstimatorTable, raw)
    with pytest.raises(ConfigError, match="split: 'pretrain' is not one of 'test'"):
        from_mapping(EstimatorTable, {**raw, "estimators": ["accuracy"], "split": "pretrain"})
    assert main(["table", "--table", "confidence", "--dry", "runs_dir=/no/such"]) == 0
    assert "11 estimators, 20 of 20 stages to run" in capsys.readouterr().out


@pytest.mark.long
def test_the_table_at_the_smallest_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every estimator on a real base of two optimiser steps: numbers where there must be some, and all stages reused the second time."""
    config = replace(load_estimator_table("confidence"), scale="smoke", seeds=(0,))
    overrides = [f"runs_dir={tmp_path}", "launcher.ranks=1", "source.test_images=8", "source.align_train_images=8"]
    assert make("confidence", config, overrides) == 0
    (scores,) = tmp_path.glob("table-confidence-*/report/scores.json")
    found = json.loads(scores.read_text())["estimators"]
    assert tuple(found) == ESTIMATORS
    for name, numbers in found.items():
        assert (numbers["ECE"][0] is None) == (name in ("semantic-entropy", "blind-image", "informativeness"))
        assert numbers["AURC"][0] is not None and 0 <= numbers["AURC"][0] <= 1
    capsys.readouterr()
    assert make("confidence", config, overrides) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")]
    assert len(lines) == 8 and all("] reused " in line for line in lines)
