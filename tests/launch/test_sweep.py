"""Sweeps: what the grid is, what points share, and what a failing point does to the others."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pytest
from instant_stages import instant_stages

from inbol.config.load import ConfigError
from launch import points as launch_points
from launch import sweep
from launch.sweep import load_sweep, plan_sweep, split_values


def test_values_are_split_at_their_own_commas_alone() -> None:
    assert split_values("0.05,0.1") == ["0.05", "0.1"]
    assert split_values("[a,b],[c]") == ["[a,b]", "[c]"]
    assert split_values("'a,b',\"c,d\"") == ["'a,b'", '"c,d"']
    assert split_values("x") == ["x"]


def test_args_add_axes_and_take_the_place_of_some() -> None:
    config, plain = load_sweep("ca-dpo-beta", ["dpo.beta=0.3,0.4", "dpo.anchor=0.5", "seed=1", "peft=full,lora"])
    assert config.grid == {"dpo.beta": ["0.3", "0.4"], "peft": ["full", "lora"]}
    assert plain == ["dpo.anchor=0.5", "seed=1"]


def test_wrong_sweeps_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no 'nope'; there are ca-dpo-beta, optuna-ca-dpo"):
        load_sweep("nope", [])
    with pytest.raises(ConfigError, match="nothing is varied"):
        load_sweep("", ["dpo.beta=0.1"])
    with pytest.raises(ConfigError, match="never on test"):
        load_sweep("ca-dpo-beta", ["eval_split=test"])
    with pytest.raises(ConfigError, match="never on test"):
        load_sweep("", ["eval_split=align-val,test"])
    config, plain = load_sweep("", ["dpo.beta=0.1,much"])
    with pytest.raises(ConfigError, match=r"dpo\.beta"):
        plan_sweep(config, "inbol-dpo", "smoke", plain)


def test_points_share_everything_before_what_is_varied() -> None:
    """6 points over beta and loss: six DPO stages, each with its predictions and scores, and one of everything before them."""
    config, plain = load_sweep("", ["dpo.beta=0.1,0.2,0.4", "dpo=soft,hard"])
    points = plan_sweep(config, "inbol-dpo", "smoke", plain)
    assert len(points) == 6
    stages = Counter(node.name for node in {node.folder: node for point in points for node in point.nodes}.values())
    assert stages == {
        **dict.fromkeys(("ingest", "unsolvable", "base", "sample", "confidence", "boundary", "sft_data", "sft", "pairs", "reference"), 1),
        **dict.fromkeys([name for name in stages if name.endswith(("[base]", "[threshold]", "[sft]", "align-val]"))], 1),
        **dict.fromkeys(("dpo", "predict[dpo]", "score[dpo]"), 6),
    }
    assert len({point.score.folder for point in points}) == 6
    assert {point.run.eval_split for point in points} == {"align-val"}


def _args(tmp_path: Path, *overrides: str) -> argparse.Namespace:
    texts = [f"runs_dir={tmp_path}", *overrides]
    return argparse.Namespace(recipe="inbol-dpo", sweep="", scale="smoke", dry=False, overrides=texts)


def test_a_failing_point_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """beta 0.2 fails; the report names the best of the rest and the missing one, and the shared stages ran once."""
    ran: list[str] = []
    fails = lambda node: node.stage == "dpo" and node.config.dpo.beta == 0.2  # noqa: E731
    monkeypatch.setattr(launch_points, "run_nodes", instant_stages(ran, fails, number=float))
    assert sweep.run_sweep(_args(tmp_path, "dpo.beta=0.1,0.2,0.4")) == 1
    assert Counter(ran)["sft"] == Counter(ran)["base"] == Counter(ran)["reference"] == 1
    assert Counter(ran)["dpo"] == 3
    (folder,) = tmp_path.glob("sweep-*")
    text = (folder / "report" / "table.md").read_text()
    assert "best by trust/T1 50/50: **dpo.beta=0.4**, 0.400 [0.300, 0.500]" in text
    assert "missing: dpo.beta=0.2: dpo failed: it was told to" in text
    assert (folder / "report" / "plot.png").stat().st_size > 5000
    lines = (folder / "report" / "table.csv").read_text().splitlines()
    assert lines[0].startswith("dpo.beta,trust/T1 50/50 value,trust/T1 50/50 low")
    assert lines[1].startswith("0.1,0.1,0.0,0.2,5,") and lines[2].startswith("0.2,,,,")
    assert "best by" in capsys.readouterr().out


def test_points_that_need_a_failed_stage_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(launch_points, "run_nodes", instant_stages(ran, lambda node: node.stage == "sft", number=float))
    assert sweep.run_sweep(_args(tmp_path, "dpo.beta=0.1,0.2")) == 1
    assert Counter(ran)["sft"] == 1
    (folder,) = tmp_path.glob("sweep-*")
    text = (folder / "report" / "table.md").read_text()
    assert "missing: dpo.beta=0.2: needs sft" in text
    assert "best" not in text


def test_the_reason_of_a_failure_is_one_line() -> None:
    text = "dpo ended with code 1; the end of its log:\n  | Traceback\n  | FloatingPointError: loss is nan\n  | more\nfolder: x\nlog: y"
    assert launch_points.reason_of(text) == "dpo ended with code 1: FloatingPointError: loss is nan"
    assert launch_points.reason_of("score failed: no such file\nfolder: x") == "score failed: no such file"
