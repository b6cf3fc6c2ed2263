"""The launcher on tiny stages: order and reuse, failures that say why, and no process that outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_stages
import pytest
from fake_nodes import alive, node, pids, wait_for

from inbol.shards.manifest import is_complete, read_manifest
from launch import local, processes
from launch.compose import ROOT, compose_run
from launch.console import Screen, read_progress
from launch.jobs import StageFailed, merge_facts
from launch.local import run_nodes
from launch.plan import Node

RUN = compose_run("inbol-dpo", "smoke")
FAKES = Path(fake_stages.__file__).parent


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MODULE", "fake_stages")
    monkeypatch.setenv("PYTHONPATH", str(FAKES))


def go(*nodes: Node) -> None:
    run_nodes([(one, RUN) for one in nodes], "test", Screen())


def test_stages_run_in_order_and_are_reused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = node(tmp_path, "inline", "a")
    second = node(tmp_path, "shards", "b", vqa=first)
    done: list[str] = []
    run_nodes([(first, RUN), (second, RUN)], "test", Screen(tmp_path / "train.log"), lambda one: done.append(one.name))
    assert done == ["inline[a]", "shards[b]"]
    manifest = read_manifest(second.folder)
    assert manifest["world_size"] == 2 and manifest["parents"] == {"vqa": "a"}
    assert list(manifest["files"]) == ["part-0.txt", "part-1.txt"]
    facts = manifest["facts"]
    assert len(facts.pop("peak_memory_gb")) == 2
    assert facts == {"parts": 2, "parents": 2, "trees_read_by_rank": [10, 11], "device": "cpu"}
    assert not list(second.folder.glob("progress-*")) and not list(second.folder.glob("facts-*"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("[")] == ["1/2]", "2/2]"]
    assert "ran" in lines[-1] and "read inline[a]; wrote 2 files: parts 2, parents 2, device cpu" in lines[-1]
    go(first, second)
    again = capsys.readouterr().out.splitlines()
    assert len(again) == 2 and all("reused" in line for line in again)
    assert "shards[b]" in (tmp_path / "train.log").read_text()


def test_a_failing_stage_shows_its_log_and_stops_its_peers(tmp_path: Path) -> None:
    one = node(tmp_path, "shards", "a", "fail")
    with pytest.raises(StageFailed) as caught:
        go(one)
    message = str(caught.value)
    assert "about to break" in message and "level: 7 is not a level" in message
    assert str(one.folder / "fake_shards.log") in message
    assert not is_complete(one.folder)
    assert not alive(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(StageFailed, match="level: 7 is not a level"):
        go(node(tmp_path, "inline", "b", "fail"))


def test_a_rank_without_facts_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="without reporting from every rank"):
        go(node(tmp_path, "shards", "a", "silent"))


def test_a_stage_folder_has_one_writer(tmp_path: Path) -> None:
    """The lock is held by another process for a second; the second run waits, then reuses or makes the folder."""
    folder = tmp_path / "fake_inline" / "a"
    folder.mkdir(parents=True)
    hold = f"import fcntl, time; f = open({str(folder / '.lock')!r}, 'w'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        start = time.monotonic()
        go(node(tmp_path, "inline", "a"))
        assert time.monotonic() - start > 0.5
    assert is_complete(folder)


@pytest.mark.parametrize(
    ("kind", "number", "launcher_kind"),
    [
        pytest.param("shards", signal.SIGINT, "local", marks=pytest.mark.heavy),
        ("shards", signal.SIGTERM, "local"),
        pytest.param("shards", signal.SIGKILL, "local", marks=pytest.mark.heavy),
        ("ranks", signal.SIGKILL, "local"),
        pytest.param("ranks", signal.SIGINT, "torchrun", marks=pytest.mark.heavy),
        pytest.param("ranks", signal.SIGTERM, "torchrun", marks=pytest.mark.heavy),
        pytest.param("ranks", signal.SIGKILL, "torchrun", marks=pytest.mark.heavy),
    ],
)
def test_no_process_outlives_the_launcher(tmp_path: Path, kind: str, number: signal.Signals, launcher_kind: str) -> None:
    """The launcher is ended in the middle of a stage; every process of the stage's sessions goes with it.

    With `ranks` there are processes of DeepSpeed's launcher or of torchrun between: all of them must go.
    """
    launcher = subprocess.Popen(
        [sys.executable, __file__, kind, str(tmp_path), launcher_kind],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{FAKES}:{ROOT / 'src'}"},
    )
    try:
        wait_for(lambda: len(pids(tmp_path)) == 2 or launcher.poll() is not None, 90)
        assert len(pids(tmp_path)) == 2
        assert len(alive(tmp_path)) >= 2
        launcher.send_signal(number)
        launcher.wait(timeout=15)
        wait_for(lambda: not alive(tmp_path), 15)
        assert alive(tmp_path) == []
    finally:
        launcher.kill()
        for process in alive(tmp_path):
            process.kill()
    assert not is_complete(tmp_path / f"fake_{kind}" / "a")


def test_facts_of_ranks_are_merged() -> None:
    """Shards: 3 + 4 = 7, per kind 1 + 2 and 0 + 5. Ranks: what is equal stands once, what differs is a list."""
    ranks = [{"n": 3, "kinds": {"a": 1}, "loss": 0.5}, {"n": 4, "kinds": {"a": 2, "b": 5}, "loss": 0.5}]
    assert merge_facts(ranks, summed=False) == {"n": [3, 4], "kinds": {"a": [1, 2], "b": 5}, "loss": 0.5}
    assert merge_facts([ranks[0], {**ranks[1], "kinds": {"a": 2}}], summed=True) == {"n": 7, "kinds": {"a": 3}, "loss": 0.5}
    assert merge_facts(ranks, summed=True)["kinds"] == {"a": 3, "b": 5}


def test_progress_is_summed_over_shards_and_read_from_rank_0_otherwise(tmp_path: Path) -> None:
    assert read_progress(tmp_path, shared=False) == (0, 0, "")
    (tmp_path / "progress-0.json").write_text('{"done": 2, "total": 5, "note": "loss 1.5"}')
    (tmp_path / "progress-1.json").write_text('{"done": 1, "total": 4}')
    (tmp_path / "progress-2.json").write_text("{half")
    assert read_progress(tmp_path, shared=False) == (3, 9, "loss 1.5")
    assert read_progress(tmp_path, shared=True) == (2, 5, "loss 1.5")


if __name__ == "__main__":
    # As the launcher of the test above: `python test_local.py <kind> <root> <launcher>`.
    from launch.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background with SIGINT ignored
    processes.MODULE = "fake_stages"
    hanging = node(Path(sys.argv[2]), sys.argv[1], "a", "hang")
    import launch.main

    chosen = compose_run("inbol-dpo", "smoke", [f"launcher={sys.argv[3]}"])
    launch.main.train = lambda args: local.run_nodes([(hanging, chosen)], "test", Screen()) or 0
    raise SystemExit(main(["train", "--recipe", "inbol-dpo", "--scale", "smoke"]))
