"""Trackers: nothing secret is logged, what is logged can be read back from disk, and a missing package says how to get it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from inbol.tracking import TRACKERS, NullTracker, Tracker, open_tracker

CONFIG = {"dpo": {"beta": 0.5}, "hub": {"hf_token": "hf_abc123", "pad_token_id": 0}, "path": Path("a/b")}


def opened(kind: str, folder: Path) -> Tracker:
    return open_tracker(kind, project="boundaries", run_name="dpo-seed0", group="inbol-dpo", config=CONFIG, folder=folder)


def log_a_run(tracker: Tracker, folder: Path) -> None:
    """Two steps, a table, a 2x2 red picture, a summary and a model by reference."""
    Image.new("RGB", (2, 2), "red").save(folder / "red.png")
    tracker.log({"loss": 2.0, "rewards/margins": 0.25}, step=1)
    tracker.table("examples", ["question", "answer"], [["what | shape?", "circle"], ["count?", 3]])
    tracker.image("plot", folder / "red.png")
    tracker.log({"loss": 1.0, "rewards/margins": 0.5}, step=5)
    tracker.summary({"T1": 0.75, "row": "dpo"})
    tracker.artifact("dpo-0123", folder, {"sha256": {"checkpoint/model.safetensors": "ab12cd34"}})
    tracker.finish()


def test_none_takes_everything_and_writes_nothing(tmp_path: Path) -> None:
    tracker = opened("none", tmp_path / "run")
    assert isinstance(tracker, NullTracker)
    log_a_run(tracker, tmp_path)
    assert not (tmp_path / "run").exists()


def test_an_unknown_kind_is_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tracker\.kind: 'mlflow' is not one of 'wandb', 'wandb-offline'"):
        opened("mlflow", tmp_path)


@pytest.mark.parametrize(("kind", "package", "way_out"), [
    ("wandb-offline", "wandb", "pip install wandb"),
    ("trackio", "trackio", "pip install 'inbol-recipes[trackio]'"),
    ("tensorboard", "tensorboard", "pip install 'inbol-recipes[tensorboard]'"),
])  # fmt: skip
def test_a_missing_package_names_what_to_install(
    kind: str, package: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kind in TRACKERS
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"tracker\.kind") as error:
        opened(kind, tmp_path)
    assert way_out in str(error.value)


def test_wandb_offline_can_be_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wandb leet inspect` prints one JSON record a line; a second opening of the folder goes on under the same run id."""
    monkeypatch.setenv("MY_OWN_SECRET", "do-not-log-me")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):  # W&B stages tables in the home folder otherwise
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for _ in range(2):
        log_a_run(opened("wandb-offline", tmp_path), tmp_path)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert runs
    assert {path.stem for path in runs} == {"run-" + (tmp_path / "wandb-run-id").read_text()}
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(runs[0])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    records = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert len(records) > 3
    for found in (
        '"rewards/margins"',
        "dpo-seed0",
        "boundaries",
        "inbol-dpo",
        '"T1"',
        "examples",
        "dpo-0123",
        "ab12cd34",
        tmp_path.as_uri(),
    ):
        assert found in printed, found
    for leaked in ("hf_abc123", "do-not-log-me", f'"host":"{os.uname().nodename}"', sys.executable):
        assert leaked not in printed, leaked


def test_tensorboard_can_be_read_back(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    log_a_run(opened("tensorboard", tmp_path), tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("rewards/margins")] == [(1, 0.25), (5, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("summary/T1")] == [(5, 0.75)]
    assert (events.Images("plot")[0].width, events.Images("plot")[0].height) == (2, 2)
    (table,) = events.Tensors("examples/text_summary")
    assert b"| what \\| shape? | circle |" in table.tensor_proto.string_val[0]
    (config,) = events.Tensors("config/text_summary")
    assert b'"beta": 0.5' in config.tensor_proto.string_val[0]
    assert b"hf_abc123" not in config.tensor_proto.string_val[0]


def test_trackio_can_be_read_back(tmp_path: Path) -> None:
    """In a process of its own: trackio fixes its folder when it is imported."""
    pytest.importorskip("trackio", reason="trackio is not installed")
    code = (
        "import sys; from pathlib import Path; from test_tracking import log_a_run, opened; "
        "log_a_run(opened('trackio', Path(sys.argv[1])), Path(sys.argv[1]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRACKIO_DIR"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120, env=environment, capture_output=True)
    with sqlite3.connect(tmp_path / "trackio" / "boundaries.db") as database:
        rows = database.execute("select step, metrics from metrics order by id").fetchall()
        (config,) = database.execute("select config from configs").fetchone()
    logged = [(step, json.loads(metrics)) for step, metrics in rows]
    curves = {step: metrics for step, metrics in logged if "loss" in metrics}
    assert {step: values["rewards/margins"] for step, values in curves.items()} == {1: 0.25, 5: 0.5}
    assert [metrics["summary/T1"] for _, metrics in logged if "summary/T1" in metrics] == [0.75]
    assert sum("circle" in json.dumps(metrics) for _, metrics in logged) == 1
    assert json.loads(config)["hub"] == {"hf_token": "***", "pad_token_id": 0}
