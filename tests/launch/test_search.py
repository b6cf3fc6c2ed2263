"""Searches: what a space may be, which points are drawn, what is shared, and that no trial is lost or counted twice, whoever dies."""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from instant_stages import instant_stages

from inbol.config.load import ConfigError, from_mapping
from inbol.config.sweeping import SearchConfig
from launch import points, search
from launch.compose import ROOT
from launch.jobs import StageFailed
from launch.plan import Node
from launch.squeue import JobState
from launch.sweep import load_sweep, run_sweep

pytest.importorskip("optuna", reason="optuna is not installed")
from optuna.trial import TrialState

from launch.study import JOURNAL, Study

BETA = {"type": "float", "low": 0.05, "high": 2.0, "log": True}
FEW = ("dpo=soft", "dpo.anchor=0.5")
"""Leaves the search one key, so that there is less to compose."""
FORM = {"type": "categorical", "choices": ["soft", "hard"]}


def config(**changes: Any) -> SearchConfig:
    return from_mapping(SearchConfig, {"space": {"dpo.beta": BETA, "dpo": FORM}, "trials": 6, "startup": 2, **changes}, "sweep")


@pytest.mark.parametrize(("changes", "message"), [
    ({"space": {"dpo.beta": {**BETA, "high": 0.01}}}, r"sweep\.space\.dpo\.beta\.high: 0\.01 must be greater than low"),
    ({"space": {"dpo.beta": {**BETA, "low": 0}}}, r"sweep\.space\.dpo\.beta\.low: 0\.0 must be greater than 0 with log"),
    ({"space": {"dpo.beta": {**BETA, "step": 0.1}}}, r"sweep\.space\.dpo\.beta\.step: 0\.1 with log: true"),
    ({"space": {"dpo.beta": {**BETA, "type": "real"}}}, r"space\.dpo\.beta\.type: 'real' is not one of 'float', 'int', 'categorical'"),
    ({"space": {"dpo.beta": {"type": "float", "low": 0.1}}}, r"sweep\.space\.dpo\.beta\.high: missing"),
    ({"space": {"sft.optim.epochs": {"type": "int", "low": 1.5, "high": 3}}}, r"epochs\.low: 1\.5 is no whole number"),
    ({"space": {"dpo": {"type": "categorical", "choices": ["soft"]}}}, r"sweep\.space\.dpo\.choices: \['soft'\]; .* two choices"),
    ({"space": {"dpo": {**FORM, "low": 0.1}}}, r"sweep\.space\.dpo\.low: 0\.1 with type: categorical"),
    ({"space": {"eval_split": {"type": "categorical", "choices": ["test", "align-val"]}}}, r"sweep\.space\.eval_split: .* never on test"),
    ({"space": {"dpo.beta": {**BETA, "lo": 1}}}, r"sweep\.space\.dpo\.beta\.lo: unknown key \(value 1\); .* allowed: type, low"),
    ({"sampler": "tpo"}, r"sweep\.sampler: 'tpo' is not one of 'tpe', 'random', 'cmaes'"),
    ({"sampler": "cmaes"}, r"sweep\.sampler: 'cmaes' needs two keys at least, all of them numbers"),
    ({"trials": 0}, r"sweep\.trials: 0 must be greater than 0"),
    ({"parallel": "4"}, r"sweep\.parallel: '4' is str, expected int"),
])  # fmt: skip
def test_a_wrong_search_is_refused_with_path_value_and_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_args_change_the_search_and_take_keys_out() -> None:
    loaded, plain = load_sweep("optuna-ca-dpo", ["sweep.trials=5", "sweep.parallel=2", "dpo.beta=0.3", "seed=1"])
    assert isinstance(loaded, SearchConfig)
    assert (loaded.trials, loaded.parallel, sorted(loaded.space)) == (5, 2, ["dpo", "dpo.anchor"])
    assert plain == ["dpo.beta=0.3", "seed=1"]
    with pytest.raises(ConfigError, match="eval_split"):
        load_sweep("optuna-ca-dpo", ["eval_split=test"])


def value_of(values: dict[str, str]) -> float:
    """A bowl with its top at beta 0.3, hard."""
    return -abs(float(values["dpo.beta"]) - 0.3) - (values["dpo"] == "soft")


def drawn(folder: Path, chosen: SearchConfig, trials: int) -> list[dict[str, str]]:
    study = Study(folder, chosen)
    found = []
    for _ in range(trials):
        taken = study.take()
        assert taken is not None
        found.append(taken.values)
        study.tell(taken, value_of(taken.values))
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_study_in_pieces_draws_what_one_process_draws(sampler: str, tmp_path: Path) -> None:
    """Each trial has its own seed, so processes that end between trials change nothing; another seed draws others."""
    anchor = {"type": "int", "low": 1, "high": 30}
    more = {"space": {"dpo.beta": BETA, "dpo": anchor}} if sampler == "cmaes" else {}
    pytest.importorskip("cmaes" if sampler == "cmaes" else "optuna")
    whole = drawn(tmp_path / "whole", config(sampler=sampler, **more), 6)
    pieces = [
        *drawn(tmp_path / "pieces", config(sampler=sampler, **more), 3),
        *drawn(tmp_path / "pieces", config(sampler=sampler, **more), 3),
    ]
    assert pieces == whole
    assert len({json.dumps(values) for values in whole}) == 6
    assert drawn(tmp_path / "other", config(sampler=sampler, seed=1, **more), 6) != whole
    assert all(0.05 <= float(values["dpo.beta"]) <= 2 for values in whole)


DIES = """
import os, sys
from pathlib import Path
sys.path[:0] = {tests!r}
from test_search import config
from launch.study import Study
study = Study(Path({folder!r}), config())
first, second = study.take(), study.take()
study.tell(first, 0.5)
print(first.values, second.values, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_trial_whose_process_was_killed_is_taken_up_again(tmp_path: Path) -> None:
    """Trial 0 was told, trial 1 was in the hands of the process that died: it comes first, with its values, and then trials 2 to 5."""
    code = DIES.format(tests=[str(ROOT / "tests" / name) for name in ("launch", "fakes")], folder=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    died = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert died.returncode == -9, died.stderr
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"op_code":5,"wor')  # and the machine failed in the middle of a line
    study = Study(tmp_path, config())
    one = study.take()
    assert one is not None and one.number == 1 and one.again
    assert str(one.values) in died.stdout
    taken = [one]
    while another := study.take():
        taken.append(another)
    assert [trial.number for trial in taken] == [1, 2, 3, 4, 5]
    assert not any(trial.again for trial in taken[1:])
    for trial in taken:
        study.tell(trial, None, reason="it rains") if trial.number == 3 else study.tell(trial, value_of(trial.values))
    assert study.take() is None and study.told() == 6
    states = Counter(trial.state for trial in study.study.get_trials())
    assert states == {TrialState.COMPLETE: 5, TrialState.FAIL: 1}
    saved = json.loads((tmp_path / points.POINTS).read_text())["points"]
    assert [(one["point"]["trial"], one["reason"]) for one in saved] == [(str(n), "it rains" if n == 3 else "") for n in range(6)]


def test_a_trial_that_died_before_it_had_all_its_values_gets_the_rest(tmp_path: Path) -> None:
    study = Study(tmp_path, config())
    study.study.ask().suggest_float("dpo.beta", 0.05, 2.0, log=True)
    taken = study.take()
    assert taken is not None and taken.number == 0 and taken.again and set(taken.values) == {"dpo.beta", "dpo"}
    study.tell(taken, 0.5)


TAKES = """
import sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
from test_search import config, value_of
from launch.study import Study
study = Study(Path({folder!r}), config(trials=12))
while taken := study.take():
    time.sleep(0.05)
    study.tell(taken, value_of(taken.values))
    print(taken.number, flush=True)
"""


@pytest.mark.heavy
def test_processes_share_a_study_without_taking_a_trial_twice(tmp_path: Path) -> None:
    code = TAKES.format(tests=[str(ROOT / "tests" / name) for name in ("launch", "fakes")], folder=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    workers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    numbers = [int(line) for worker in workers for line in worker.communicate(timeout=100)[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(numbers) == list(range(12))


# The command, with stages that write their scores at once.


def stages(ran: list[str], fails: Callable[[Node], bool] = lambda node: False) -> Callable[..., None]:
    """The nearer beta is to .3, the better."""
    return instant_stages(ran, fails, number=lambda beta: -abs(beta - 0.3))


def command(runs: Path, *overrides: str) -> argparse.Namespace:
    texts = [f"runs_dir={runs}", "sweep.startup=2", *overrides]
    return argparse.Namespace(recipe="inbol-dpo", sweep="optuna-ca-dpo", scale="smoke", dry=False, worker=False, overrides=texts)


def test_a_search_ends_in_a_report_and_a_failed_trial_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial 1 fails. 4 trials, then 6 with the same study; everything before `dpo` runs once."""
    ran: list[str] = []
    fails = lambda node: node.stage == "dpo" and Counter(ran)["dpo"] == 2  # noqa: E731
    for module in (points, search):
        monkeypatch.setattr(module, "run_nodes", stages(ran, fails))
    assert run_sweep(command(tmp_path, "sweep.trials=4")) == 1
    assert (Counter(ran)["dpo"], Counter(ran)["score[dpo]"]) == (4, 3)
    assert run_sweep(command(tmp_path, "sweep.trials=6")) == 1
    counts = Counter(ran)
    assert counts["dpo"] == 6 and max(counts[name] for name in counts if "dpo" not in name) == 1 == counts["reference"]
    (folder,) = tmp_path.glob("study-*")
    text = (folder / "report" / "table.md").read_text()
    assert "## Search over dpo.beta, dpo.anchor, dpo, align-val" in text
    assert "best by trust/T1 50/50: **trial=" in text and "missing: trial=1 dpo.beta=" in text and "dpo failed: it was told to" in text
    assert len((folder / "report" / "table.csv").read_text().splitlines()) == 7
    assert (folder / "report" / "plot.png").stat().st_size > 20_000
    assert (folder / "trial-005" / "resolved.yaml").is_file()
    assert len({json.dumps(one["point"]) for one in json.loads((folder / points.POINTS).read_text())["points"]}) == 6


def test_a_stage_that_all_trials_need_fails_before_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "run_nodes", stages([], lambda node: node.stage == "sft"))
    with pytest.raises(StageFailed, match="sft failed"):
        run_sweep(command(tmp_path, "sweep.trials=4", *FEW))
    (folder,) = tmp_path.glob("study-*")
    assert not list(folder.glob("trial-*"))


def test_a_metric_that_scores_lack_is_refused_before_the_first_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "run_nodes", stages([]))
    with pytest.raises(ConfigError, match=r"scores have no 'trust/T2'; there are trust/T1 50/50"):
        run_sweep(command(tmp_path, "sweep.metric=trust/T2", *FEW))
    assert not list(tmp_path.glob("study-*/trial-*"))


def test_a_space_that_the_recipe_refuses_names_every_mistake(tmp_path: Path) -> None:
    space = {"dpo.beta": {"type": "float", "low": -1.0, "high": 1.0}, "dpo": {"type": "categorical", "choices": ["soft", "wrong"]}}
    wrong = from_mapping(SearchConfig, {"space": space, "trials": 2}, "sweep")
    with pytest.raises(ConfigError) as caught:
        search.plan_search(wrong, command(tmp_path), [])
    assert "dpo.beta: -1.0" in str(caught.value) and "'wrong'" in str(caught.value)


def test_what_decides_the_numbers_names_the_folder(tmp_path: Path) -> None:
    def folder(*overrides: str) -> Path:
        loaded, plain = load_sweep("optuna-ca-dpo", [f"runs_dir={tmp_path}", *FEW, *overrides])
        assert isinstance(loaded, SearchConfig)
        return search.plan_search(loaded, command(tmp_path), plain).folder

    first = folder()
    assert folder("sweep.trials=99", "sweep.parallel=3", "launcher=torchrun", "tracker=trackio") == first
    assert len({first, folder("sweep.seed=1"), folder("seed=1")}) == 3


def test_without_optuna_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "launch.study", None)
    with pytest.raises(ConfigError, match=r"pip install 'inbol-recipes\[search\]'"):
        search.open_study(tmp_path, config())


class FakeJobs:
    """Slurm's answers: the jobs of a trial live for two looks; then its stages are there, or one of them has failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, run_nodes: Any) -> None:
        self.run_nodes = run_nodes
        self.looks: dict[Path, int] = {}
        self.nodes: dict[Path, Sequence[Node]] = {}
        self.most = 0
        monkeypatch.setattr(search, "POLL", 0.0)
        monkeypatch.setattr(search, "submit", self.submit)
        monkeypatch.setattr(search.Chain, "states", lambda chain: self.states(chain.folder))

    def submit(self, nodes: Sequence[Node], run: Any, folder: Path, screen: Any) -> search.Chain:
        assert folder not in self.looks, "submitted twice"
        self.looks[folder], self.nodes[folder] = 2, nodes
        (folder / search.RECORD).write_text("[]")
        return search.Chain(folder)

    def states(self, folder: Path) -> dict[str, JobState]:
        self.most = max(self.most, sum(left > 0 for left in self.looks.values()))
        if not self.looks[folder]:
            return {}
        self.looks[folder] -= 1
        if not self.looks[folder]:
            with suppress(StageFailed):
                self.run_nodes([(node, None) for node in self.nodes[folder]])
        return {"1": JobState("RUNNING", "None")}


@pytest.mark.heavy
def test_a_search_keeps_so_many_chains_in_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6 trials, 3 at a time; the third DPO fails, which is told with its reason. Every trial is submitted once."""
    ran: list[str] = []
    jobs = FakeJobs(monkeypatch, stages(ran, lambda node: node.stage == "dpo" and Counter(ran)["dpo"] == 3))
    assert run_sweep(command(tmp_path, "sweep.trials=6", "sweep.parallel=3", "launcher=slurm", *FEW)) == 1
    assert (len(jobs.looks), jobs.most) == (6, 3)
    (folder,) = tmp_path.glob("study-*")
    failed = [one["reason"] for one in json.loads((folder / points.POINTS).read_text())["points"] if one["reason"]]
    assert failed == ["dpo failed: its job is over"]


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_jobs_of_a_launcher_that_was_killed_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first command dies at its second look; its jobs live on, and the second command submits nothing for these trials."""
    jobs = FakeJobs(monkeypatch, stages([]))
    # the search's own clock alone: git, which says the revision, is waited for by the real one
    monkeypatch.setattr(search, "time", SimpleNamespace(sleep=lambda seconds: (_ for _ in ()).throw(SystemExit)))
    with pytest.raises(SystemExit):
        run_sweep(command(tmp_path, "sweep.trials=2", "sweep.parallel=2", "launcher=slurm", *FEW))
    assert len(jobs.looks) == 2
    gc.collect()  # the locks of a process that has died are free
    monkeypatch.setattr(search, "time", time)
    assert run_sweep(command(tmp_path, "sweep.trials=2", "sweep.parallel=2", "launcher=slurm", *FEW)) == 0
    assert len(jobs.looks) == 2


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_shared_stage_that_fails_in_its_job_ends_the_search_untold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeJobs(monkeypatch, stages([], lambda node: node.stage == "sft"))
    with pytest.raises(StageFailed, match="sft failed: its job is over; every trial needs it"):
        run_sweep(command(tmp_path, "sweep.trials=4", "launcher=slurm", *FEW))
    (folder,) = tmp_path.glob("study-*")
    assert [one["reason"] for one in json.loads((folder / points.POINTS).read_text())["points"]] == ["still running"]
