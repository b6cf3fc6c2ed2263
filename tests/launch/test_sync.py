"""Commands about a finished run, through the command line as the Makefile calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbol.config.load import ConfigError
from inbol.tracking import open_tracker
from launch.main import main
from launch.sync import offline_runs


def stage(runs: Path, name: str, *, starts: int) -> Path:
    """A stage folder whose tracker was opened so many times, as after requeues."""
    folder = runs / name / "0123456789abcdef"
    for step in range(starts):
        tracker = open_tracker("wandb-offline", project="p", run_name=name, group="g", config={}, folder=folder / "tracker")
        tracker.log({"loss": 1.0}, step)
        tracker.finish()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_offline_runs_of_all_stages_are_found(tmp_path: Path) -> None:
    """Two stages that were tracked, one that was not; the folder of another run is left alone."""
    run = tmp_path / "inbol-dpo-smoke-1"
    run.mkdir()
    for name, starts in (("sft", 1), ("dpo", 1), ("boundary", 0)):
        (run / name).symlink_to(stage(tmp_path, name, starts=starts), target_is_directory=True)
    stage(tmp_path, "base", starts=1)
    assert {path.parents[2].parent.name for path in offline_runs(run)} == {"sft", "dpo"}


def test_nothing_to_send_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run folder"):
        offline_runs(tmp_path / "absent")
    with pytest.raises(ConfigError, match="has offline runs"):
        offline_runs(tmp_path)


def test_the_command_hands_them_to_wandb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "inbol-dpo-smoke-1"
    run.mkdir()
    (run / "resolved.yaml").touch()
    (run / "sft").symlink_to(stage(tmp_path, "sft", starts=1), target_is_directory=True)
    assert main(["sync", "--runs-dir", str(tmp_path), "--dry"]) == 0
    assert "1 offline runs" in capfd.readouterr().out


def test_a_sweep_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep-report", "--run", "absent"]) == 2
    assert "runs/absent: holds no points.json" in capsys.readouterr().err
