"""Runs on two hosts that ssh reaches, undisturbed and disturbed: `make test-ssh`. Each host is an sshd of its own on this machine.

Every run uses the command that `make train` starts. What ran on two hosts is compared with what two processes of `launcher=local` made.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_stages
import psutil
import pytest
from fake_nodes import alive, node, pids, wait_for
from ssh_hosts import Hosts

from inbol.shards.manifest import is_complete
from launch.compose import ROOT

FAKES = Path(fake_stages.__file__).parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
pytestmark = [
    pytest.mark.ssh,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(Hosts.lacks()), reason=Hosts.lacks() or "has what it needs"),
]


@pytest.fixture
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    try:
        made.start()
        yield made
    finally:
        for process in made.processes():
            process.kill()
        made.stop()


def start(runs: Path, *overrides: str) -> subprocess.Popen[str]:
    """`make train RECIPE=inbol-sft SCALE=smoke`, with longer trainings so that there is a middle to be disturbed in."""
    chosen = ["sft.optim.epochs=6", "sft.optim.save_steps=3", f"runs_dir={runs}", *overrides]
    command = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-sft", "--scale", "smoke", "--", *chosen]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def train(runs: Path, *overrides: str) -> str:
    """The same to its end; returns what it printed."""
    with start(runs, *overrides) as run:
        out, _ = run.communicate(timeout=390)
    assert run.returncode == 0, out[-3000:]
    return out


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder in which the recipe has run with two processes on this machine."""
    runs = tmp_path_factory.mktemp("local")
    train(runs, "launcher.ranks=2")
    return runs


def results(folder: Path) -> dict[str, str]:
    """sha256 of every weight and record of a stage."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return {name: facts["sha256"] for name, facts in files.items() if name.startswith("checkpoint/") or name.endswith(".jsonl")}


def table(runs: Path) -> str:
    (path,) = (runs / "report").glob("*/table.md")
    return path.read_text()


def test_a_run_ends_in_the_weights_and_the_table_of_the_local_one(tmp_path: Path, local: Path, hosts: Hosts) -> None:
    """Also when its `sft` is ended in the middle: nothing is left within 15 s, and the same command goes on from the checkpoint."""
    with start(tmp_path, *hosts.overrides()) as run:
        try:
            wait_for(lambda: list(tmp_path.glob("sft/*/trainer/checkpoint-*/trainer_state.json")) or run.poll() is not None, 300)
            assert run.poll() is None, run.communicate()[0][-3000:]
            run.terminate()
            out, _ = run.communicate(timeout=15)
            assert run.returncode == 130 and "stopped; every process has ended" in out
            assert hosts.processes() == []
        finally:
            run.kill()
    again = train(tmp_path, *hosts.overrides())
    assert " reused base " in " ".join(again.split())
    assert table(tmp_path) == table(local)
    compared = 0
    for stage in ("base", "sft", "sample", "predict"):
        for folder in (local / stage).iterdir():
            assert results(tmp_path / stage / folder.name) == results(folder)
            assert json.loads((tmp_path / stage / folder.name / "manifest.json").read_text())["world_size"] == 2
            compared += len(results(folder))
    assert compared > 10
    log = next(tmp_path.glob("sft/*/sft.log")).read_text()
    assert "[alpha] " in log and "[beta] " in log


def launcher(kind: str, root: Path, hosts: Hosts, action: str = "hang") -> subprocess.Popen[str]:
    """A launcher whose only stage is a fake one, on both hosts."""
    forwarded = f"launcher.ssh.environment={{PYTHONPATH: '{FAKES}'}}"
    return subprocess.Popen(
        [sys.executable, __file__, kind, str(root), action, forwarded, *hosts.overrides()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{FAKES}:{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left(root: Path, hosts: Hosts) -> list[psutil.Process]:
    """What lives on the hosts, on the way there, and of the ranks wherever it is."""
    return [*hosts.processes(), *alive(root)]


def ended(run: subprocess.Popen[str], root: Path, hosts: Hosts, within: float = 15) -> tuple[int, str]:
    """(code, output) of a launcher, which leaves nothing behind within so many seconds."""
    begin = time.monotonic()
    out, _ = run.communicate(timeout=within)
    wait_for(lambda: not left(root, hosts), within - (time.monotonic() - begin))
    assert left(root, hosts) == []
    sys.stdout.write(f"nothing left after {time.monotonic() - begin:.1f} s\n")
    return run.returncode, out


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("kind", ["shards", "ranks"])
def test_no_process_on_any_host_outlives_the_launcher(tmp_path: Path, hosts: Hosts, kind: str, number: signal.Signals) -> None:
    with launcher(kind, tmp_path, hosts) as run:
        try:
            wait_for(lambda: len(pids(tmp_path)) == 2 or run.poll() is not None, 90)
            assert len(pids(tmp_path)) == 2, run.communicate()[0]
            assert len(alive(tmp_path)) >= 2 and len(hosts.processes()) >= 6
            run.send_signal(number)
            code, _ = ended(run, tmp_path, hosts)
            assert code == (-9 if number == signal.SIGKILL else 130)
        finally:
            run.kill()
            for process in alive(tmp_path):
                process.kill()
    assert not is_complete(tmp_path / f"fake_{kind}" / "a")


@pytest.mark.parametrize("number", SIGNALS)
def test_nor_one_that_only_looks(tmp_path: Path, hosts: Hosts, number: signal.Signals) -> None:
    """The signal comes while the hosts are asked what they have."""
    with launcher("ranks", tmp_path, hosts) as run:
        try:
            wait_for(lambda: hosts.processes() or run.poll() is not None, 60)
            run.send_signal(number)
            ended(run, tmp_path, hosts)
        finally:
            run.kill()
    assert not pids(tmp_path) and not list(tmp_path.glob("*/*/manifest.json"))


@pytest.mark.parametrize("lost", ["connection", "agent"])
def test_a_host_that_is_lost_ends_the_stage_everywhere(tmp_path: Path, hosts: Hosts, lost: str) -> None:
    """The sshd process of a connection dies, as with a machine without power, or the agent behind it is killed."""
    with launcher("ranks", tmp_path, hosts) as run:
        try:
            wait_for(lambda: len(pids(tmp_path)) == 2 or run.poll() is not None, 90)
            (connection,) = psutil.Process(hosts.daemons["beta"].pid).children()
            found = connection if lost == "connection" else agent_of(connection)
            found.kill()
            code, out = ended(run, tmp_path, hosts, within=20)
        finally:
            run.kill()
            for process in alive(tmp_path):
                process.kill()
    assert code == 1
    assert "ended on beta (rank 1) with code" in out


def agent_of(connection: psutil.Process) -> psutil.Process:
    """The first process behind a connection that runs our code."""
    return next(one for one in connection.children(recursive=True) if "launch.agent" in one.cmdline())


def test_a_failing_rank_shows_the_end_of_its_log(tmp_path: Path, hosts: Hosts) -> None:
    with launcher("shards", tmp_path, hosts, "fail") as run:
        code, out = ended(run, tmp_path, hosts, within=60)
    assert code == 1
    assert "ended on beta (rank 1) with code 1" in out
    assert "| [beta] about to break" in out and "| [beta] ValueError: level: 7 is not a level" in out
    assert "[alpha]" not in out.split("the end of its log")[1]


def test_a_stage_on_two_hosts_is_complete(tmp_path: Path, hosts: Hosts) -> None:
    with launcher("shards", tmp_path, hosts, "write") as run:
        code, out = ended(run, tmp_path, hosts, within=60)
    assert code == 0, out
    folder = tmp_path / "fake_shards" / "a"
    assert [path.read_text() for path in sorted(folder.glob("part-*"))] == ["0 of 2", "1 of 2"]
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    assert manifest["world_size"] == 2 and manifest["facts"]["parts"] == 2
    assert not list(tmp_path.glob(".seen-*"))


@pytest.mark.parametrize("broken", ["off", "key", "name", "folder"])
def test_a_host_that_cannot_take_part_is_named_before_anything_starts(tmp_path: Path, hosts: Hosts, broken: str) -> None:
    """Switched off, without our key, unknown, or without the repository; nothing is written but the run's own folder."""
    if broken == "off":
        hosts.stop_host("beta")
        expected = "Connection refused"
    elif broken == "key":
        (hosts.root / "key.pub").write_text("")
        expected = "Permission denied"
    elif broken == "name":
        hosts.hostfile().write_text("alpha slots=1\nnowhere.invalid slots=1\n")
        expected = "launcher.ssh: nowhere.invalid cannot be reached"
    else:
        with (hosts.root / "sshd-beta").open("a") as file:  # its shell sees an empty root folder in the place of ours
            file.write("ForceCommand cd /nowhere\n")
        hosts.stop_host("beta")
        hosts.start_host("beta")
        expected = f"launcher.ssh: beta cannot start {sys.executable} in {ROOT}"
    overrides = hosts.overrides()
    if broken == "name":
        hosts.hostfile().write_text("alpha slots=1\nnowhere.invalid slots=1\n")
    with start(tmp_path / "runs", *overrides) as run:
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 2, out
    assert expected in out and out.count("error: launcher.ssh: ") == (2 if broken == "key" else 1)
    if broken != "folder":
        assert "this has to work without a question: ssh " in out and out.rstrip().endswith(" true")
    assert not (tmp_path / "runs" / "ingest").exists()
    assert hosts.processes() == []


if __name__ == "__main__":
    # As the launcher of the tests above: `python test_hosts.py <kind> <root> <action> <override> ...`.
    from launch import local, main, processes
    from launch.compose import compose_run
    from launch.console import Screen

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background with SIGINT ignored
    processes.MODULE = "fake_stages"
    only = node(Path(sys.argv[2]), sys.argv[1], "a", sys.argv[3])
    chosen = compose_run("inbol-sft", "smoke", [*sys.argv[4:], f"runs_dir={sys.argv[2]}"])
    main.train = lambda args: local.run_nodes([(only, chosen)], "test", Screen()) or 0
    raise SystemExit(main.main(["train", "--recipe", "inbol-sft", "--scale", "smoke"]))
