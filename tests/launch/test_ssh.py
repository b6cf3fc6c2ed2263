"""What is started on other machines, and the agent there; with real connections it is tried in `tests/ssh/`."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import fake_stages
import pytest
from fake_nodes import alive, node, pids, wait_for

from inbol.config.run import RunConfig
from launch import ssh
from launch.agent import MARK, Facts, Orders, sources
from launch.compose import ROOT, compose_run
from launch.jobs import job_of
from launch.local import on_hosts, processes_of
from launch.main import main
from launch.plan import Node, plan

FAKES = Path(fake_stages.__file__).parent
ALPHA = Facts(address="10.0.0.1", port=4000, accelerators=2, token=".seen-1", sources="abc", versions={"python": "3.11", "torch": "2.13"})
BETA = replace(ALPHA, address="10.0.0.2")


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    """Two machines of two slots."""
    (tmp_path / "hosts").write_text("alpha slots=2\nbeta slots=2\n")
    return compose_run("inbol-dpo", "smoke", ["launcher=ssh", f"launcher.ssh.hostfile={tmp_path / 'hosts'}", f"runs_dir={tmp_path}/runs"])


def test_ssh_asks_nothing_and_takes_what_is_configured(run: RunConfig, tmp_path: Path) -> None:
    plain = ssh.ssh_command(run.launcher.ssh, "alpha")
    assert plain[0] == "ssh" and "BatchMode=yes" in plain and plain[-3:-1] == ["--", "alpha"]
    assert plain[-1] == f"cd {ROOT} && exec env PYTHONPATH={ROOT}/src {sys.executable} -m launch.agent"
    assert not {"-p", "-l", "-i", "-F"} & set(plain)
    key = tmp_path / "key"
    key.touch()
    chosen = ssh.ssh_command(replace(run.launcher.ssh, port=2222, user="me", key=str(key), config=str(key)), "alpha")
    assert chosen[chosen.index("-F") : chosen.index("--")] == ["-F", str(key), "-i", str(key), "-p", "2222", "-l", "me"]


def test_ranks_are_counted_through_the_machines(run: RunConfig) -> None:
    """Two machines of two slots: independent processes 0, 1 and 2, 3 of 4; in a collective stage one launcher a machine knows all four."""
    apart = ssh.stage_orders(run.launcher, Path("/runs/job.json"), collective=False, address="", port=0)
    assert [command[-3] for order in apart.values() for command in order.commands] == ["0", "1", "2", "3"]
    assert {command[-1] for order in apart.values() for command in order.commands} == {"4"}
    assert all(order.deal for order in apart.values())
    together = ssh.stage_orders(run.launcher, Path("/runs/job.json"), collective=True, address="10.0.0.1", port=4000)
    for number, order in enumerate(together.values()):
        (command,) = order.commands
        options = dict(option.split("=", 1) for option in command if option.startswith("--") and "=" in option)
        assert json.loads(base64.urlsafe_b64decode(options["--world_info"])) == {"alpha": ["0", "1"], "beta": ["0", "1"]}
        assert (options["--node_rank"], options["--master_addr"], options["--master_port"]) == (str(number), "10.0.0.1", "4000")
        assert not order.deal


def test_variables_are_forwarded_by_name_or_beginning(run: RunConfig) -> None:
    config = replace(run.launcher.ssh, forward=("HF_*", "CUDA_HOME"), environment={"NCCL_DEBUG": "INFO"})
    env = {"HF_HOME": "/hf", "HFX": "1", "CUDA_HOME": "/cuda", "CUDA_HOME_2": "x", "PATH": "/bin"}
    assert ssh.forwarded(config, env) == {"HF_HOME": "/hf", "CUDA_HOME": "/cuda", "NCCL_DEBUG": "INFO"}


def test_variables_are_on_no_command_line(run: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    overrides = [f"launcher.ssh.hostfile={run.launcher.ssh.hostfile}", f"runs_dir={run.runs_dir}"]
    assert main(["train", "--recipe", "inbol-dpo", "--scale", "smoke", "--dry", "--", "launcher=ssh", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "alpha: ssh -T " in shown and "dpo:\n  alpha: " in shown and "--master_port=<free port>" in shown
    assert "0123456789abcdef" not in shown and "score[dpo]:" not in shown
    assert not Path(run.runs_dir).exists()


def test_stages_without_a_model_stay_here(run: RunConfig) -> None:
    """Of the stages that start processes, only the linking of a pretrained base takes one here."""
    nodes = {one.stage: one for one in plan(run)}
    there = {stage for stage, one in nodes.items() if on_hosts(one, run.launcher)}
    assert there == {"base", "sample", "sft", "reference", "dpo", "predict"}
    assert processes_of(nodes["sft"], run.launcher) == 4
    big = compose_run("inbol-dpo", "7b", ["launcher=ssh", f"launcher.ssh.hostfile={run.launcher.ssh.hostfile}", "source.path=x"])
    assert big.launcher.ranks == 2  # the scale's eight are for machines without a hostfile
    base = next(one for one in plan(big) if one.stage == "base")
    assert not on_hosts(base, big.launcher) and processes_of(base, big.launcher) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("cannot be reached (no route); ...", "launcher.ssh: beta cannot be reached (no route); ..."),
        (
            replace(BETA, token="No such file or directory"),
            "launcher.ssh: beta does not see {folder} (No such file or directory); set",
        ),
        (replace(BETA, sources="def"), "launcher.ssh: beta has other code in {root} (def, here abc); bring both to one revision"),
        (replace(BETA, versions={"python": "3.11", "torch": "2.12"}), "launcher.ssh: beta has torch 2.12, here 2.13; install the same"),
        (replace(BETA, accelerators=1), "launcher.ssh: beta has 1 accelerators for 2 processes; write slots=1"),
        (replace(BETA, accelerators=0), ""),
        (BETA, ""),
    ],
)
def test_a_machine_that_cannot_take_part(run: RunConfig, tmp_path: Path, answer: Facts | str, message: str) -> None:
    found = ssh._mistake(run.launcher, tmp_path, "beta", answer, replace(ALPHA, address=""))
    assert found.startswith(message.format(folder=tmp_path, root=ROOT)) and bool(found) == bool(message)


def test_the_first_machine_has_to_be_met(run: RunConfig) -> None:
    """Met at 127.0.0.1 it is met by nobody else, unless all machines are this one."""
    near, far = replace(ALPHA, address="127.0.0.1"), replace(BETA, address="127.0.0.2")
    assert ssh._unmet(run.launcher, {"alpha": ALPHA, "beta": BETA}) == ""
    assert ssh._unmet(run.launcher, {"alpha": near, "beta": far}) == ""
    assert "alpha was met at 127.0.0.1" in ssh._unmet(run.launcher, {"alpha": near, "beta": BETA})
    named = replace(run.launcher, ssh=replace(run.launcher.ssh, master_address="10.0.0.1"))
    assert ssh._unmet(named, {"alpha": near, "beta": BETA}) == ""
    assert "does not say where" in ssh._unmet(run.launcher, {"alpha": replace(ALPHA, address=""), "beta": BETA})


def test_a_failure_names_machine_ranks_and_code(run: RunConfig) -> None:
    assert ssh.failure(run.launcher, {"beta": 1}) == "ended on beta (ranks 2 to 3) with code 1"
    assert ssh.failure(run.launcher, {"alpha": 255}).startswith("ended on alpha (ranks 0 to 1) with code 255, which is ssh's own: ")


def test_the_hash_of_the_code_sees_every_change(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "launch").mkdir()
    hashes = {sources(tmp_path)}
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    hashes.add(sources(tmp_path))
    (tmp_path / "src" / "a.py").write_text("x = 2\n")
    hashes.add(sources(tmp_path))
    (tmp_path / "src" / "a.py").rename(tmp_path / "src" / "b.py")
    assert len({*hashes, sources(tmp_path)}) == 4


@contextmanager
def agent(silence: float = 60) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as ssh starts it, but on this machine and without ssh."""
    code = f"import launch.agent as a; a.SILENCE = {silence}; raise SystemExit(a.main())"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{FAKES}:{ROOT / 'src'}"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=env) as child:
        try:
            yield child
        finally:
            child.kill()


def orders(one: Node, run: RunConfig, *, threads: int = 1) -> bytes:
    job = job_of(one, run, "test").save()
    commands = [[sys.executable, "-m", "fake_stages", str(job), "--rank", str(rank), "--world", "2"] for rank in range(2)]
    return json.dumps(asdict(Orders(commands=commands, environment={}, threads=threads, deal=True))).encode() + b"\n"


@pytest.mark.parametrize("how", ["hung up", "silent", "killed"])
def test_what_an_agent_keeps_ends_with_the_launcher(tmp_path: Path, run: RunConfig, how: str) -> None:
    """The launcher's end of the connection closes, or nothing comes any more, or the agent itself is killed."""
    one = node(tmp_path, "shards", "a", "hang")
    with agent(silence=2 if how == "silent" else 60) as child:
        assert child.stdin is not None
        child.stdin.write(orders(one, run))
        child.stdin.flush()
        wait_for(lambda: len(pids(tmp_path)) == 2, 30)
        assert len(alive(tmp_path)) == 2
        if how == "hung up":
            child.stdin.close()
        elif how == "killed":
            child.kill()
        code = child.wait(timeout=15)
        wait_for(lambda: not alive(tmp_path), 15)
        assert alive(tmp_path) == []
        assert code == (-9 if how == "killed" else 130)


def test_an_agent_without_orders_ends(tmp_path: Path) -> None:
    with agent() as child:
        assert child.communicate(b"", timeout=15)[0] == b"" and child.returncode == 1


def test_an_agent_says_what_its_machine_has(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("here")
    with agent() as child:
        start = time.monotonic()
        out, _ = child.communicate(json.dumps({"look": str(tmp_path / "token")}).encode() + b"\n", timeout=15)
        assert time.monotonic() - start < 10
    facts = Facts(**json.loads(out.decode().split(MARK)[1]))
    assert facts.token == "here" and facts.sources == sources(ROOT) and facts.port > 0 and facts.address == ""
