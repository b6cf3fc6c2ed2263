"""Chains of Slurm jobs without a Slurm: resources, scripts, what is submitted, states, and what becomes of a job whose processes ended."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from inbol.config.launching import LauncherConfig
from inbol.config.load import ConfigError, from_mapping
from inbol.config.run import RunConfig
from inbol.config.sweeping import SweepConfig
from inbol.shards.manifest import write_manifest
from launch import chain, keeper, lanes, slurm, squeue
from launch.chain import Chain, Link
from launch.compose import ROOT, compose_run
from launch.console import Screen
from launch.history import History, Start, progress_of
from launch.jobs import StageFailed, job_of
from launch.plan import Node, plan
from launch.points import PlannedPoint
from launch.squeue import JobState, SlurmError
from launch.sweep import load_sweep, plan_sweep

GOLDEN = Path(__file__).with_name("golden")


@cache
def composed(runs: Path | str = "runs", *overrides: str, scale: str = "7b") -> tuple[RunConfig, list[Node]]:
    run = compose_run("inbol-dpo", scale, ["launcher=slurm", f"runs_dir={runs}", *overrides])
    return run, plan(run)


def node(name: str, nodes: list[Node]) -> Node:
    return next(one for one in nodes if one.name == name)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_scripts_for_so_many_nodes_are_these(count: int, tmp_path: Path) -> None:
    """What `DRY=1` prints; UPDATE_GOLDEN=1 writes it anew. Paths of this machine and fingerprints are replaced."""
    run, nodes = composed(tmp_path, f"launcher.nodes={count}")
    text = slurm.dry(nodes, run).replace(str(tmp_path), "/runs").replace(sys.executable, "/venv/bin/python").replace(str(ROOT), "/repo")
    text = re.sub(r"(/runs/\w+)/[0-9a-f]{16}", r"\1/<fingerprint>", text)
    path = GOLDEN / f"slurm-{count}x8.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_evaluation_does_not_hold_the_nodes_of_the_training() -> None:
    run, nodes = composed("runs", "launcher.nodes=4")
    takes = {one.name: slurm.resources(one, run) for one in nodes}
    assert {name: (takes[name].nodes, takes[name].ranks, takes[name].gpus) for name in ("sft", "predict[dpo]", "score[dpo]", "base")} == {
        "sft": (4, 8, True),
        "predict[dpo]": (1, 8, True),
        "score[dpo]": (1, 1, False),
        "base": (1, 1, False),  # pretrained: one process links or downloads it
    }
    assert takes["sample"].world == takes["reference"].world == 32


def test_what_a_cluster_needs_is_in_every_script() -> None:
    run, nodes = composed(
        "runs",
        "launcher.slurm.account=team",
        "launcher.slurm.partition=gpu",
        "launcher.slurm.cpu_partition=small",
        "launcher.slurm.constraint='a100&ib'",
        "launcher.slurm.modules=[cuda/12.4]",
        "launcher.slurm.environment={NCCL_SOCKET_IFNAME: 'ib 0'}",
        "launcher.slurm.setup=['ulimit -n 65536']",
        "launcher.slurm.stages={sample: {partition: big, time: 2:00:00}}",
    )
    sft, score, sample = (slurm.script(node(name, nodes), run) for name in ("sft", "score[sft]", "sample"))
    assert "--partition=gpu" in sft and "--gpus-per-node=8" in sft
    assert "--partition=small" in score and "gpus" not in score
    assert "--partition=big" in sample and "--time=2:00:00" in sample
    for text in (sft, score, sample):
        assert "#SBATCH --account=team\n" in text and "#SBATCH --constraint=a100&ib\n" in text
        assert "module load cuda/12.4\nexport NCCL_SOCKET_IFNAME='ib 0'\nulimit -n 65536\n" in text
        assert not re.search(r"@\w+@", text.replace('"$@"', ""))
        assert len(re.findall(r"^ *srun ", text, re.M)) == 1


def test_the_scripts_are_sound_shell(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("shellcheck")
    if not tool.exists():
        pytest.skip("shellcheck is not installed; pip install -e '.[dev]' does it")
    run, nodes = composed("runs", "launcher.slurm.container=pyxis", "launcher.slurm.image=/i.sqsh", "launcher.slurm.environment={A: 'b c'}")
    for one in nodes:
        path = tmp_path / "x.sbatch"
        path.write_text(slurm.script(one, run))
        done = subprocess.run([str(tool), str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_containers() -> None:
    inside = ["launcher.slurm.image=/images/inbol.sqsh", "launcher.slurm.mounts=[/data:/data]", "launcher.slurm.python=python3"]
    run, nodes = composed("runs", "launcher.slurm.container=pyxis", *inside)
    text = slurm.script(node("sft", nodes), run)
    assert "--container-image=/images/inbol.sqsh --container-mounts=/data:/data --container-workdir=" in text
    assert "rank python3 -m inbol.stages" in text and f"exec {sys.executable} -m launch.keeper" in text
    run, nodes = composed("runs", "launcher.slurm.container=apptainer", *inside)
    assert "apptainer exec --nv --bind=/data:/data" in slurm.script(node("sft", nodes), run)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("launcher.nodes=3", r"sft\.optim\.global_batch: 64 trees do not divide over launcher\.ranks=8 on each of 3 nodes"),
        ("launcher.slurm.stages={dpo: {ranks: 5}}", r"dpo\.optim\.global_batch: 64 trees do not divide over launcher\.ranks=5"),
        ("launcher.slurm.time=soon", r"launcher\.slurm\.time: 'soon' is no time of Slurm"),
    ],
)
def test_what_does_not_fit_the_run_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed("runs", override)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": {"score": {"nodes": 1}}}, r"slurm\.stages: 'score' is not one of base, sample"),
        ({"container": "docker"}, r"slurm\.container: 'docker' is not one of"),
        ({"container": "pyxis"}, r"slurm\.image: '' with container='pyxis'"),
        ({"mounts": ["data"]}, r"slurm\.mounts: 'data' is not of the form"),
        ({"modules": ["a; b"]}, r"slurm\.modules: 'a; b' is not the name"),
        ({"account": "a b"}, r"slurm\.account: 'a b' holds a space"),
        ({"environment": {"A-B": "x"}}, r"slurm\.environment: 'A-B' is not the name"),
        ({"starts": 0}, r"slurm\.starts: 0 must be greater than 0"),
        ({"notice": 0}, r"slurm\.notice: 0 must be at least 1"),
        ({"partitoin": "x"}, r"slurm\.partitoin: unknown key \(value 'x'\); did you mean 'partition'"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(LauncherConfig, {"kind": "slurm", "slurm": values})


def test_several_nodes_need_slurm() -> None:
    with pytest.raises(ConfigError, match=r"nodes: 2 machines with launcher\.kind='local'"):
        compose_run("inbol-dpo", "smoke", ["launcher.nodes=2"])


def test_a_path_that_a_script_cannot_take_is_refused() -> None:
    run, nodes = composed("'my runs'")
    with pytest.raises(ConfigError, match="holds a character"):
        slurm.script(nodes[0], run)


class FakeSlurm:
    """Numbers the jobs that are submitted; `refuse` is the number that is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.submitted: list[tuple[str, list[str], bool]] = []
        self.behind: dict[str, list[str]] = {}
        self.known: dict[str, JobState] = {}
        self.released: list[str] = []
        self.cancelled: list[str] = []
        self.refuse = 0
        monkeypatch.setattr(squeue, "sbatch", self.sbatch)
        monkeypatch.setattr(squeue, "states", lambda ids: {job: self.known[job] for job in ids if job in self.known})
        monkeypatch.setattr(squeue, "release", self.released.extend)
        monkeypatch.setattr(squeue, "scancel", self.cancelled.extend)

    def sbatch(self, script: Path, after: list[str], behind: Sequence[str] = (), *, held: bool) -> str:
        if len(self.submitted) + 1 == self.refuse:
            raise SlurmError("sbatch: error: invalid account")
        self.submitted.append((script.name, list(after), held))
        job = str(100 + len(self.submitted))
        self.behind[job] = list(behind)
        self.known[job] = JobState("PENDING", "Dependency")
        return job


def finish(folder: Path) -> None:
    about = {"stage": "ingest", "fingerprint": "f", "config": {}, "parents": {}, "facts": {}}
    write_manifest(folder, stage_version=1, seconds=1, world_size=1, **about)


def test_one_job_per_missing_stage_each_after_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(monkeypatch)
    run, nodes = composed(tmp_path, scale="smoke")
    finish(nodes[0].folder)
    jobs = slurm.submit(nodes, run, tmp_path / "run", Screen())
    assert len(jobs.links) == len(nodes) - 1 == len(fake.submitted)
    ids = {link.name: link.job for link in jobs.links}
    after = {re.sub(r"^\d+-|\.sbatch$", "", name): waits for name, waits, _ in fake.submitted}
    assert after["unsolvable"] == after["base"] == []  # what they read is complete
    assert set(after["dpo"]) == {ids["pairs"], ids["reference"], ids["sft"]}
    assert [name for name, _, held in fake.submitted if held] == ["01-unsolvable.sbatch", "02-base.sbatch"]
    assert fake.released == [ids["unsolvable"], ids["base"]]  # only then does anything start
    assert [link.name for link in Chain.read(tmp_path / "run").links] == list(ids)
    again = slurm.submit(nodes, run, tmp_path / "again", Screen())
    assert len(fake.submitted) == len(ids) and all(link.shared for link in again.links)  # the other run's jobs are waited for
    fake.known.clear()
    assert not any(link.shared for link in slurm.submit(nodes, run, tmp_path / "third", Screen()).links)


def six_points(runs: Path) -> list[PlannedPoint]:
    config, plain = load_sweep("", [f"runs_dir={runs}", "launcher=slurm", "dpo.beta=0.1,0.2,0.4", "dpo=soft,hard"])
    assert isinstance(config, SweepConfig)
    return plan_sweep(config, "inbol-dpo", "smoke", plain)


@pytest.mark.parametrize("limit", [None, 2])
def test_a_sweep_submits_these_jobs(limit: int | None, tmp_path: Path) -> None:
    """What `make sweep ... LAUNCHER=slurm DRY=1` prints; UPDATE_GOLDEN=1 writes it anew. Two lanes of three points, or all at once."""
    text = lanes.dry(six_points(tmp_path), limit)
    path = GOLDEN / f"sweep-limit-{limit or 'none'}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()


def test_no_more_points_than_the_limit_are_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points 1 and 2 wait for nobody; `dpo` of points 3 to 6 waits until the last jobs of 1 to 4 are over. Nothing is submitted twice."""
    fake = FakeSlurm(monkeypatch)
    lanes.submit_points(six_points(tmp_path), tmp_path, 2, Screen())
    chains = [Chain.read(tmp_path / f"point-{number:03d}") for number in range(6)]
    ids = [{link.name: link.job for link in chain.links} for chain in chains]
    assert len(fake.submitted) == 18 + 5 * 3
    assert {job: behind for job, behind in fake.behind.items() if behind} == {
        ids[2]["dpo"]: [ids[0][name] for name in ("score[base]", "score[threshold]", "score[sft]", "score[dpo]")],
        **{ids[number]["dpo"]: [ids[number - 2]["score[dpo]"]] for number in (3, 4, 5)},
    }


def test_a_chain_that_is_refused_in_the_middle_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(monkeypatch)
    fake.refuse = 4
    run, nodes = composed(tmp_path, scale="smoke")
    with pytest.raises(StageFailed, match="invalid account"):
        slurm.submit(nodes, run, tmp_path / "run", Screen())
    assert fake.cancelled == ["101", "102", "103"] and not fake.released


def test_slurm_s_answers_are_read() -> None:
    text = "12|RUNNING|None\n13|PENDING|Dependency\n14|FAILED|NonZeroExitCode\nslurm_load_jobs error\n15_[1-3]|PENDING|x\n"
    found = squeue.parse_states(text)
    assert found == {
        "12": JobState("RUNNING", "None"),
        "13": JobState("PENDING", "Dependency"),
        "14": JobState("FAILED", "NonZeroExitCode"),
    }
    assert [state.alive for state in found.values()] == [True, True, False]
    facts = squeue.parse_job("JobId=9 JobName=dpo JobState=RUNNING Reason=None Restarts=2 Command=/a b/c")
    assert (facts["JobState"], facts["Restarts"]) == ("RUNNING", "2")
    assert squeue.sbatch_command("x", ["1"], ["2", "3"])[2] == "--dependency=afterok:1,afterany:2:3"
    assert squeue.sbatch_command("x", [], ["2"]) == ["sbatch", "--parsable", "--dependency=afterany:2", "x"]
    assert squeue.sbatch_command("x", ["1", "2"]) == ["sbatch", "--parsable", "--dependency=afterok:1:2", "--kill-on-invalid-dep=yes", "x"]


def test_status_shows_state_progress_loss_and_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSlurm(monkeypatch)
    jobs = Chain(tmp_path / "run")
    for number, (name, stage) in enumerate([("ingest", "ingest"), ("sft", "sft"), ("predict[sft]", "predict"), ("dpo", "dpo")], 1):
        folder = tmp_path / stage
        folder.mkdir()
        jobs.add(Link(name=name, stage=stage, job=str(number), folder=str(folder)))
    finish(tmp_path / "ingest")
    (tmp_path / "sft" / "progress-0.json").write_text('{"done": 3, "total": 10, "note": "loss 1.2500"}')
    (tmp_path / "sft" / "sft.log").write_text("hello\n")
    history = History(tmp_path / "dpo").of("4")
    history.starts.append(Start([0, 1], "ended with code 1; no report from ranks [1]"))
    history.save()
    fake.known = {"2": JobState("RUNNING", "None"), "3": JobState("PENDING", "Dependency"), "4": JobState("FAILED", "NonZeroExitCode")}
    out = io.StringIO()
    assert chain.status(jobs, out) == 0
    lines = [re.sub(r" +", " ", line) for line in out.getvalue().splitlines()]
    assert lines[2].startswith("ingest 1 complete")
    assert lines[3] == f"sft 2 running 3/10 loss 1.2500 {tmp_path / 'sft' / 'sft.log'}"
    assert lines[4] == "predict[sft] 3 pending -"
    assert lines[5] == "dpo 4 failed ended with code 1; no report from ranks [1] -"
    assert lines[6] == "1 of 4 stages complete"
    with pytest.raises(ConfigError, match="no run of it was submitted"):
        chain.newest(tmp_path / "empty", "")


def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, *, restart: int = 0, state: str = "RUNNING") -> tuple[int, list[str]]:
    """One start of a stage whose two processes are this Python code; the exit code of its keeper, and what was queued again."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
    again: list[str] = []
    monkeypatch.setattr(squeue, "restarts", lambda job: (state, restart))
    monkeypatch.setattr(squeue, "requeue", again.append)
    run, nodes = composed(tmp_path, scale="smoke")
    job = job_of(node("sft", nodes), run, "")
    job.out.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(job.out)
    command = [sys.executable, "-c", f"import json, pathlib, sys\n{code}"]
    return keeper.Keeper(job, world=2, threads=1, starts=3, command=command).run(), again


REPORT = "[pathlib.Path(f'facts-{r}.json').write_text(json.dumps(%s)) for r in range(2)]"


def test_a_stage_whose_ranks_all_reported_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(tmp_path, monkeypatch, REPORT % "{'steps': 4, 'trees_read_by_this_rank': r}") == (0, [])
    (manifest,) = tmp_path.glob("sft/*/manifest.json")
    facts = json.loads(manifest.read_text())
    assert facts["facts"] == {"steps": 4, "trees_read_by_rank": [0, 1]} and facts["world_size"] == 2
    assert set(facts["parents"]) == {"vqa", "sft_data", "model"} and not facts["files"]


def test_a_stage_that_was_told_to_stop_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(tmp_path, monkeypatch, REPORT % "{'stopped': 'step 3 of 9'}") == (0, ["7"])
    assert not list(tmp_path.glob("sft/*/manifest.json"))
    (folder,) = tmp_path.glob("sft/*")
    assert chain.last_word(folder) == "told to stop, saved at step 3 of 9"


def test_a_cancelled_job_is_not_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(tmp_path, monkeypatch, REPORT % "{'stopped': 'step 3 of 9'}", state="CANCELLED") == (1, [])


def test_three_starts_without_progress_end_the_job_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = "pathlib.Path('trainer/checkpoint-2').mkdir(parents=True, exist_ok=True); sys.exit(5)"
    assert kept(tmp_path, monkeypatch, "sys.exit(5)") == (0, ["7"])
    assert kept(tmp_path, monkeypatch, saved, restart=1) == (0, ["7"])  # it came on: three more
    assert kept(tmp_path, monkeypatch, "sys.exit(5)", restart=2) == (0, ["7"])
    assert kept(tmp_path, monkeypatch, "sys.exit(5)", restart=3) == (0, ["7"])
    assert kept(tmp_path, monkeypatch, "sys.exit(5)", restart=4) == (1, [])
    (folder,) = tmp_path.glob("sft/*")
    assert chain.last_word(folder) == "stopped after 3 starts without progress: ended with code 5; no report from ranks [0, 1]"
    assert History(folder).of("8").starts == []  # whoever submits it anew starts from nothing


def test_progress_is_steps_and_finished_files(tmp_path: Path) -> None:
    for name in (
        "trainer/tower/checkpoint-8",
        "trainer/llava/checkpoint-2",
        "trainer/llava/checkpoint-4",
        "trainer/failed-checkpoint-9",
        "trainer/llava/.part-6/checkpoint-6",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "align-000001.jsonl").write_text("{}\n")
    (tmp_path / "sample.log").write_text("x")
    assert progress_of(tmp_path) == [12, 1]
