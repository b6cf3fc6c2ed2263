"""The recipe on a real Slurm of two nodes on this machine, undisturbed and disturbed: `make test-slurm`.

Every run uses the command that `make train` starts. What was disturbed is compared with what nobody disturbed, byte for byte.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from slurm_cluster import Cluster

from launch.compose import ROOT

LONGER = ["sft.optim.epochs=12", "dpo.optim.epochs=12", "source.images_per_shard=4", "tracker=wandb-offline"]
"""So that there is a middle to be disturbed in: 24 steps a training, nine shards a sampling."""
CLUSTER = [
    "launcher=slurm", "launcher.nodes=2", "launcher.ranks=1", "launcher.threads=1", "launcher.slurm.time='30'", "launcher.slurm.notice=20",
    "launcher.slurm.memory=''", "launcher.slurm.cpu_memory=''",
]  # fmt: skip
STAGES = ("sft", "dpo", "reference", "sample")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(Cluster.lacks()), reason=Cluster.lacks() or "has what it needs"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def launch(runs: Path, cluster: Cluster | None, *overrides: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
    """`make train RECIPE=inbol-dpo SCALE=smoke`, on the cluster where one is given."""
    chosen = [*LONGER, *(CLUSTER if cluster else []), f"runs_dir={runs}", *overrides]
    command = [sys.executable, "-m", "launch", "train", "--recipe", "inbol-dpo", "--scale", "smoke", *(["--wait"] if wait else [])]
    env = {**(cluster.env if cluster else os.environ), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([*command, "--", *chosen], cwd=ROOT, env=env, capture_output=True, text=True, timeout=500, check=False)


def command(name: str, runs: Path, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """`make status`, `make cancel` or `make logs`."""
    full = [sys.executable, "-m", "launch", name, "--runs-dir", str(runs)]
    return subprocess.run(full, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder in which the recipe has run on this machine."""
    runs = tmp_path_factory.mktemp("local")
    done = launch(runs, None)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return runs


def without(local: Path, stage: str, runs: Path) -> Path:
    """A copy of the finished runs that lacks the folder of one stage, which is returned."""
    shutil.copytree(local, runs, symlinks=True)
    folders = [path for path in (runs / stage).iterdir() if "test" not in manifest(path)["config"].get("splits", [])]
    (folder,) = folders
    shutil.rmtree(folder)
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def results(folder: Path) -> dict[str, str]:
    """sha256 of every weight and record of a stage."""
    files = manifest(folder)["files"]
    return {name: facts["sha256"] for name, facts in files.items() if name.startswith("checkpoint/") or name.endswith(".jsonl")}


def curve(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of every row of a stage's W&B history, over all starts, which have to share one id."""
    files = sorted(folder.glob("tracker/wandb/offline-run-*/run-*.wandb"))
    assert len({path.stem for path in files}) == 1, files
    rows = []
    for path in files:
        tool = str(Path(sys.executable).parent / "wandb")
        text = subprocess.run([tool, "leet", "inspect", "--json", str(path)], capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        rows += [record["history"]["item"] for record in records if record["type"] == "history"]
    return [(row["_step"], row["loss"]) for row in rows if "loss" in row]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 120, poll: float = 0.1) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(poll)
    return found


def done_of(folder: Path) -> int:
    """Steps or shards that rank 0 has done; -1 before it says so."""
    try:
        return int(json.loads((folder / "progress-0.json").read_text())["done"])
    except (OSError, ValueError):
        return -1


def job_of(folder: Path) -> str:
    return (folder / ".slurm-job").read_text()


def restarts(cluster: Cluster, job: str) -> int:
    facts = cluster.run("scontrol", "--oneliner", "show", "job", job)
    return int(next(word.split("=")[1] for word in facts.split() if word.startswith("Restarts=")))


def limit(cluster: Cluster, job: str, minutes: int) -> None:
    """Sets the time limit of a job's next start, as soon as Slurm lets one: a job that is being requeued counts as finished meanwhile."""

    def set_() -> bool:
        try:
            cluster.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
        except RuntimeError as error:
            if "already finished" not in str(error):
                raise
            return False
        return True

    wait_for(set_, "another time limit", 30)


def starts(folder: Path) -> list[str]:
    """How every start of the stage ended."""
    return [start["ended"] for start in json.loads((folder / ".starts.json").read_text())["starts"]]


@contextmanager
def in_the_middle(stage: str, folder: Path, *, begun: bool = False) -> Iterator[None]:
    """Holds the ranks once something is done (three steps, a shard), or only `begun`, until Slurm's notice has reached them all."""
    ranks = wait_for(lambda: found if len(found := ranks_of(folder)) == 2 else None, f"two ranks of {stage}")
    seen = time.time()
    if begun:
        wait_for(lambda: any(path.stat().st_mtime > seen for path in folder.glob("progress-*.json")), f"the start of {stage}", poll=0.005)
    elif stage in ("sft", "dpo"):
        wait_for(lambda: done_of(folder) >= 3, f"progress of {stage}", poll=0.005)
    else:
        wait_for(lambda: list(folder.glob("*.jsonl")), f"a shard of {stage}", poll=0.005)
    for rank in ranks:
        with suppress(psutil.NoSuchProcess):
            rank.suspend()
    try:
        yield
        wait_for(lambda: all(told(rank) for rank in ranks), "the notice")
    finally:
        for rank in ranks:
            with suppress(psutil.NoSuchProcess):
                rank.resume()


def told(rank: psutil.Process) -> bool:
    """Whether SIGUSR1 waits for a process, or the process has ended of it."""
    try:
        status = Path(f"/proc/{rank.pid}/status").read_text()
    except OSError:
        return True
    pending = int(next(line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd")), 16)
    return bool(pending & 1 << (signal.SIGUSR1 - 1))


def ranks_of(folder: Path) -> list[psutil.Process]:
    return of(folder, "inbol.stages")


def is_like_undisturbed(stage: str, folder: Path, local: Path) -> None:
    whole = local / stage / folder.name
    assert results(folder) == results(whole)
    if stage in ("sft", "dpo"):
        assert curve(folder) == curve(whole)
        assert len(curve(folder)) == 24


def test_the_recipe_ends_in_the_table_of_the_local_run(tmp_path: Path, local: Path, cluster: Cluster) -> None:
    done = launch(tmp_path, cluster)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table, expected = (next((root / "report").glob("*/table.md")).read_text() for root in (tmp_path, local))
    assert table == expected
    for stage in ("base", "sft", "dpo"):
        (folder,) = (tmp_path / stage).iterdir()
        assert results(folder) == results(local / stage / folder.name)
        assert manifest(folder)["world_size"] == 2
    again = launch(tmp_path, cluster)
    assert again.returncode == 0 and "job" not in again.stdout  # nothing is missing, so nothing is submitted


@pytest.mark.parametrize("stage", STAGES)
def test_a_preemption_and_a_time_limit(stage: str, tmp_path: Path, local: Path, cluster: Cluster) -> None:
    """A job of a higher partition takes both nodes, and the second start runs into its limit: both times the stage saves, is requeued, and
    goes on at the exact sample. The limit is one minute, and Slurm's notice comes some seconds after the start."""
    folder = without(local, stage, tmp_path / "runs")
    assert launch(tmp_path / "runs", cluster, "launcher.slurm.notice=45", wait=False).returncode == 0
    job = job_of(folder)
    with in_the_middle(stage, folder):
        cluster.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
    wait_for(lambda: restarts(cluster, job) == 1, f"the first requeue of {stage}")
    limit(cluster, job, 1)
    with in_the_middle(stage, folder, begun=True):
        pass
    wait_for(lambda: restarts(cluster, job) == 2, f"the second requeue of {stage}")
    limit(cluster, job, 30)
    wait_for((folder / "manifest.json").is_file, f"the end of {stage}")
    assert [start[:22] for start in starts(folder)[:2]] == ["told to stop, saved at"] * 2
    is_like_undisturbed(stage, folder, local)


def test_lost_nodes(tmp_path: Path, local: Path, cluster: Cluster) -> None:
    """Everything on one node dies at once, on node1 the keeper too; the job is requeued and goes on from its last checkpoint."""
    folder = without(local, "sft", tmp_path / "runs")
    assert launch(tmp_path / "runs", cluster, wait=False).returncode == 0
    for times, (lost, step) in enumerate((("node2", 5), ("node1", 12)), start=1):
        wait_for(lambda step=step: done_of(folder) >= step, "progress of sft")
        cluster.lose_node(lost)
        wait_for(lambda times=times: restarts(cluster, job_of(folder)) == times, "the requeue")
        time.sleep(1)
        cluster.start_node(lost)
    wait_for((folder / "manifest.json").is_file, "the end of sft")
    assert results(folder) == results(local / "sft" / folder.name)
    assert dict(curve(folder)) == dict(curve(local / "sft" / folder.name))  # some steps stand there twice, and are alike


def test_status_logs_and_cancel(tmp_path: Path, local: Path, cluster: Cluster) -> None:
    runs = tmp_path / "runs"
    folder = without(local, "dpo", runs)
    for stage in ("predict", "score", "report"):  # so that there are jobs that wait
        for path in (runs / stage).iterdir():
            if "dpo" in manifest(path)["config"].get("row", "dpo") and stage != "predict":
                shutil.rmtree(path)
    assert launch(runs, cluster, wait=False).returncode == 0
    with subprocess.Popen(
        [sys.executable, "-m", "launch", "logs", "--runs-dir", str(runs)], cwd=ROOT, env=cluster.env, stdout=subprocess.PIPE, text=True
    ) as logs:
        wait_for(lambda: done_of(folder) >= 2, "progress of dpo")
        shown = command("status", runs, cluster).stdout
        line = next(line for line in shown.splitlines() if line.startswith("dpo"))
        assert " running " in line and "/24" in line and " loss " in line and line.endswith(f"{folder}/dpo.log")
        assert any(line.startswith("report") and " pending " in line for line in shown.splitlines())
        done = command("cancel", runs, cluster)
        assert done.returncode == 0 and done.stdout.startswith("cancelled"), done.stdout + done.stderr
        written = logs.communicate(timeout=60)[0]
    assert "dpo: [keeper" in written and "dpo: cancelled" in written
    assert not cluster.run("squeue", "--noheader")
    assert not of(runs)
    assert restarts(cluster, job_of(folder)) == 0
    assert list(folder.glob("trainer/checkpoint-*"))  # and what was saved stays


def test_a_stage_that_fails_three_times_stops_with_the_reason(tmp_path: Path, local: Path, cluster: Cluster) -> None:
    runs = tmp_path / "runs"
    folder = without(local, "sft", runs)
    shutil.rmtree(runs / "report")
    done = launch(runs, cluster, "launcher.slurm.python=/bin/false")
    assert done.returncode == 1
    assert len(starts(folder)) == 3
    assert "stopped after 3 starts without progress: ended with code 1" in done.stdout
    assert "report" in done.stdout and "cancelled" in done.stdout  # what waited for it is not left waiting


def test_no_process_outlives_a_killed_keeper(tmp_path: Path, local: Path, cluster: Cluster) -> None:
    folder = without(local, "sft", tmp_path / "runs")
    assert launch(tmp_path / "runs", cluster, wait=False).returncode == 0
    wait_for(lambda: done_of(folder) >= 2, "progress of sft")
    (keeper,) = of(folder, "launch.keeper")
    assert len(ranks_of(folder)) == 2
    keeper.send_signal(signal.SIGKILL)
    wait_for(lambda: not of(folder), "the end of every process", 15)


def of(folder: Path, *module: str) -> list[psutil.Process]:
    """Processes that work for a folder, all or those of one module."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if str(folder) in " ".join(line) and process.pid != os.getpid() and line[1:3] == (["-m", *module] if module else line[1:3]):
                found.append(process)
        except psutil.Error:
            continue
    return found
