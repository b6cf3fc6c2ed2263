"""Stage `judge` against a real server that misbehaves by plan, and what scores make of its verdicts."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, prompt_of, response_in, serving
from fake_server import judge as sensible
from pictures import shape_samples

from inbol.benchmarks.dataset import BenchmarkRecord
from inbol.config.benchmarks import BenchmarkDataStage, BenchmarkScoreStage
from inbol.config.data import BoundaryConfig, ScoreConfig
from inbol.config.serving import JudgeConfig, JudgeStage
from inbol.config.stages import ScoreStage
from inbol.contracts import Confidence, Graded, Prediction, Question, VqaSample
from inbol.endpoint.errors import ServerMisconfigured
from inbol.judging.judge import Verdict
from inbol.reporting.build import build_report
from inbol.reporting.load import System
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import benchmark_data, benchmark_score, judge, score
from inbol.stages.job import Job
from tests.reporting.world import vqa_samples

SAID = {"a-q0": "a circle", "a-u0": "I cannot tell.", "b-q0": "a square", "b-u0": "Paris", "c-q0": "not a thing here", "c-u0": "circle"}
"""By the fake judge: right, refused, wrong, answered beyond the image, refused, answered beyond the image."""


def world(folder: Path) -> dict[str, Path]:
    """Three images, each with one answerable question and one beyond it."""
    image = vqa_samples(1)[0].image
    samples, beyond = [], []
    for key in "abc":
        asked = Question(key=f"{key}-q0", image_key=key, text="what shape?", answers=("circle",), kind="shape")
        samples.append(VqaSample(key=key, image=image, image_format="png", split="test", source="fake", questions=(asked,)))
        beyond.append(Question(key=f"{key}-u0", image_key=key, text="who made it?", answerable=False, kind="vague", reason="not shown"))
    write_shard(folder / "vqa" / "test-000000.tar", samples)
    write_records(folder / "unsolvable" / "test-000000.jsonl", beyond)
    said = [Prediction(key=k, image_key=k[0], text=text, logprob=math.log(0.5), num_tokens=2) for k, text in SAID.items()]
    write_records(folder / "predictions" / "test-000000.jsonl", said)
    sure = {"consistency": 1.0, "entropy": 0.0, "logprob": -1.0, "refused": 0.0}
    known = [Confidence(key=k, image_key=k[0], accuracy=None if "u" in k else 0.5, **sure) for k in SAID]
    write_records(folder / "confidence" / "test-000000.jsonl", known)
    return {name: folder / name for name in ("vqa", "unsolvable", "predictions")}


def orders(folder: Path, server: FakeServer, *, name: str = "one", **settings: Any) -> Job:
    values = {"kind": "openai", "base_url": server.url, "model": "m", "timeout_s": 0.5, "attempts": 2, "longest_wait_s": 0.02, **settings}
    config = JudgeStage(judge=JudgeConfig(**values), split="test", bootstrap=50)
    inputs = {role: folder / role for role in ("vqa", "unsolvable", "predictions")}
    return Job(stage="judge", fingerprint="f", out=folder / "runs" / "judge" / name, inputs=inputs, config=config)


def verdicts(job: Job) -> dict[tuple[str, str], Verdict]:
    return {(v.dimension, v.key): v for v in read_records(job.out / "test-000000.jsonl", Verdict)}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    from inbol.endpoint.client import Server

    monkeypatch.setattr(Server.__init__, "__kwdefaults__", Server.__init__.__kwdefaults__ | {"first_wait_s": 0.01})


def test_every_response_is_judged_and_compared_with_the_rules(tmp_path: Path) -> None:
    """Rules: a-u0 alone refuses. Judge: a-u0 and c-q0 refuse.

    Asked: 6 refusals; correctness of a-q0 and b-q0, which answer; rationality of a-u0, the refusal beyond the image, with its picture.
    """
    world(tmp_path)
    with serving() as server:
        job = orders(tmp_path, server)
        facts = judge.run(job)
        assert facts["verdicts"] == 9 and facts["unjudged"] == 0 and len(server.bodies) == 9
        found = verdicts(job)
        assert {k: v.value for (d, k), v in found.items() if d == "refusal"} == {k: int(k in ("a-u0", "c-q0")) for k in SAID}
        assert {k: v.value for (d, k), v in found.items() if d == "correctness"} == {"a-q0": 1, "b-q0": 0}
        assert {k: v.value for (d, k), v in found.items() if d == "rationality"} == {"a-u0": 7}
        with_picture = [body for body in server.bodies if isinstance(body["messages"][0]["content"], list)]
        assert len(with_picture) == 1 and "not shown" in prompt_of(with_picture[0])
        assert with_picture[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
        assert all(body["temperature"] == 0.0 for body in server.bodies)
        summary = json.loads((job.out / "judge.json").read_text())
        assert summary["agreement"]["refusal"]["n"] == 6 and summary["agreement"]["correctness"]["counts"]["both"] == 1
        assert summary["spent"]["requests"] == 9 and summary["dimensions"]["rationality"]["mean"] == 7.0
        again = orders(tmp_path, server, name="two", max_requests=99)  # another folder, nothing new to ask
        assert judge.run(again)["requests"] == 0 and len(server.bodies) == 9
        assert verdicts(again) == found


@pytest.mark.parametrize("step", [500, 429, "hang", "broken", "reset", "odd", "score: many"])
def test_a_server_that_fails_or_talks_nonsense_now_and_then_changes_nothing(tmp_path: Path, step: Any) -> None:
    world(tmp_path)
    with serving() as server:
        good = orders(tmp_path / "good", server)
        world(tmp_path / "good")
        judge.run(good)
    with serving(step, "ok", "ok", step, answer=sensible) as server:
        job = orders(tmp_path, server, attempts=4)
        assert judge.run(job)["unjudged"] == 0
        assert len(server.bodies) == 11
        assert verdicts(job) == verdicts(good)


def test_what_cannot_be_read_is_unjudged_and_never_guessed(tmp_path: Path) -> None:
    """The judge babbles about Paris: asked three times, each time reminded; its answers are remembered too."""
    world(tmp_path)

    def babbles(body: dict[str, Any]) -> str:
        return "tag: perhaps" if response_in(prompt_of(body)) == "Paris" else sensible(body)

    with serving(answer=babbles) as server:
        job = orders(tmp_path, server, rereads=2)
        assert judge.run(job)["unjudged"] == 1
        assert verdicts(job)["refusal", "b-u0"] == Verdict(
            key="b-u0", image_key="b", dimension="refusal", value=None, unjudged="unreadable, 3 times"
        )
        about = [body["messages"] for body in server.bodies if response_in(prompt_of(body)) == "Paris"]
        assert [len(messages) for messages in about] == [1, 3, 5]
        assert about[1][1] == {"role": "assistant", "content": "tag: perhaps"} and "could not be read" in about[1][2]["content"]
        summary = json.loads((job.out / "judge.json").read_text())
        assert summary["dimensions"]["refusal"] | {"mean": 0} == {
            "asked": 6, "judged": 5, "mean": 0, "unjudged": {"unreadable, 3 times": 1},
        }  # fmt: skip
        assert summary["agreement"]["refusal"]["n"] == 5
        before = len(server.bodies)
        judge.run(orders(tmp_path, server, name="two", rereads=2))
        assert len(server.bodies) == before


@pytest.mark.parametrize("step", [500, "hang", "reset"])
def test_a_dead_server_leaves_everything_unjudged_and_is_given_up(tmp_path: Path, step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time: the six questions' first ones, then the second ones of three, which give up; then no more."""
    monkeypatch.setattr("inbol.judging.judge.GIVE_UP_AFTER", 3)
    world(tmp_path)
    with serving(*[step] * 99) as server:
        job = orders(tmp_path, server, attempts=2, timeout_s=0.1, concurrency=1)
        facts = judge.run(job)
        assert facts["unjudged"] == facts["verdicts"] == 6
        assert len(server.bodies) == 6 + 3
    reasons = sorted(v.unjudged for v in verdicts(job).values())
    assert all("2 times" in reason for reason in reasons)
    assert sum(reason.startswith("server: given up after 3 questions in a row without an answer (server: ") for reason in reasons) == 3


def test_a_wrong_key_stops_the_stage_and_keeps_what_is_there(tmp_path: Path) -> None:
    world(tmp_path)
    with serving("ok", "ok", 401, 401, 401, 401, 401, 401) as server:
        job = orders(tmp_path, server, concurrency=1)
        with pytest.raises(ServerMisconfigured, match="HTTP 401"):
            judge.run(job)
        server.plan.clear()
        before = len(server.bodies)
        assert judge.run(job)["unjudged"] == 0
        assert len(server.bodies) - before == 9 - 2


def test_a_spent_budget_leaves_the_rest_unjudged(tmp_path: Path) -> None:
    world(tmp_path)
    with serving() as server:
        job = orders(tmp_path, server, max_requests=4, concurrency=1)
        assert judge.run(job)["unjudged"] > 0
        assert len(server.bodies) == 4
        assert {v.unjudged for v in verdicts(job).values()} == {"", "budget: max_requests=4 requests are sent"}
        larger = orders(tmp_path, server, name="larger", max_requests=40)
        assert judge.run(larger)["unjudged"] == 0 and len(server.bodies) == 9


RUNNER = """
import sys
from pathlib import Path
from inbol.stages.job import load_job
from inbol.stages import judge
print(judge.run(load_job(Path(sys.argv[1]))))
"""


def test_after_a_kill_nothing_is_asked_again(tmp_path: Path) -> None:
    """Killed after four answers: whatever was under way (2 at most) is all that is asked a second time."""
    world(tmp_path)
    server = Path(__file__).parents[1] / "fakes" / "fake_server.py"
    port, log = tmp_path / "port", tmp_path / "log"
    serving_ = subprocess.Popen([sys.executable, str(server), str(port), str(log), "0.15"])
    try:
        while not (port.exists() and port.read_text()):
            time.sleep(0.01)
        config = JudgeStage(
            judge=JudgeConfig(kind="openai", base_url=port.read_text(), model="m", concurrency=2), split="test", bootstrap=10
        )
        inputs = {role: tmp_path / role for role in ("vqa", "unsolvable", "predictions")}
        job = Job(stage="judge", fingerprint="f", out=tmp_path / "runs" / "judge" / "one", inputs=inputs, config=config)
        orders_ = job.save()
        first = subprocess.Popen([sys.executable, "-c", RUNNER, str(orders_)], env=os.environ, start_new_session=True)
        while not log.exists() or len(log.read_text().splitlines()) < 5:
            assert first.poll() is None
            time.sleep(0.005)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert not (job.out / "test-000000.jsonl").exists()
        facts = judge.run(job)
        asked = log.read_text().splitlines()
        assert facts["unjudged"] == 0 and len(set(asked)) == 9 and 9 <= len(asked) <= 11
        assert 0 <= facts["requests"] - len(asked) <= 2  # it counts those of the killed process too, noted before they were sent
    finally:
        serving_.kill()
        serving_.wait()


def scored(folder: Path, judged: Job, *, decides: bool, row: str = "base", **roles: Path) -> tuple[dict[str, Any], list[Graded]]:
    config = ScoreStage(score=ScoreConfig(bootstrap=20), boundary=BoundaryConfig(), row=row, split="test", judge_decides=decides)
    inputs = {name: folder / name for name in ("vqa", "unsolvable", "confidence", "predictions")}
    inputs |= {"base_predictions": folder / "predictions", "verdicts:base": judged.out, **roles}
    out = folder / f"score-{decides}-{row}"
    score.run(Job(stage="score", fingerprint="f", out=out, inputs=inputs, config=config))
    return json.loads((out / "scores.json").read_text()), read_records(out / "outcomes.jsonl", Graded)


def test_scores_show_a_second_opinion_or_let_it_decide(tmp_path: Path) -> None:
    """The judge babbles about Paris. By rules a-u0 alone refuses; by the judge c-q0 too, and b-u0 is left out."""
    world(tmp_path)
    with serving(answer=lambda body: "?" if response_in(prompt_of(body)) == "Paris" else sensible(body)) as server:
        job = orders(tmp_path, server, rereads=0)
        judge.run(job)
    plain, graded = scored(tmp_path, job, decides=False)
    assert len(graded) == 6
    assert plain["judge"]["outcomes"]["answerable"] == {"judged": 3, "unjudged": 0, "CORRECT": 1 / 3, "REFUSED": 1 / 3, "WRONG": 1 / 3}
    assert plain["judge"]["outcomes"]["unsolvable"] == {"judged": 2, "unjudged": 1, "CORRECT": 0.0, "REFUSED": 0.5, "WRONG": 0.5}
    assert plain["judge"]["decides"] is False and plain["judge"]["model"] == "m"
    decided, graded = scored(tmp_path, job, decides=True)
    cohen = (0.8 - (0.2 * 0.4 + 0.8 * 0.6)) / (1 - (0.2 * 0.4 + 0.8 * 0.6))  # 1 of 5 refuses by rules, 2 by the judge, 1 by both
    assert {g.key: (g.outcome.value, g.base_outcome.value) for g in graded} == {
        "a-q0": ("CORRECT",) * 2, "b-q0": ("WRONG",) * 2, "c-q0": ("REFUSED",) * 2, "a-u0": ("REFUSED",) * 2, "c-u0": ("WRONG",) * 2,
    }  # fmt: skip
    assert decided["judge"]["excluded"] == {"base": 1} and decided["slices"]["answerable"]["T0"]["value"] == 0.0
    assert decided["n"] == 5
    tables = build_report(tmp_path / "report", title="t", systems=[System("base", "base", (tmp_path / "score-True-base",))], resamples=20)
    (table,) = [table for table in tables if table.name == "judge"]
    # refusals: rules and judge differ on c-q0 alone; correctness of the answers a-q0 and b-q0
    assert [cell.value for cell in table.rows[0][1][:3]] == [pytest.approx(4 / 5), pytest.approx(cohen), 1.0]
    assert [cell.text for cell in table.rows[0][1][4:]] == ["8", "1", "9", "0"]
    plain_tables = build_report(
        tmp_path / "r2", title="t", systems=[System("base", "base", (tmp_path / "score-False-base",))], resamples=20
    )
    assert "this is a second opinion" in next(table for table in plain_tables if table.name == "judge").notes[0]


def test_the_paper_s_three_dimensions_on_mohobench(tmp_path: Path) -> None:
    """Every second response refuses. Helpfulness and rationality are 7; one response's helpfulness is unjudged and left out."""
    write_shard(tmp_path / "vqa" / "test-000000.tar", shape_samples(3))
    made = BenchmarkDataStage(benchmark="mohobench", path="tiny", seed=0, tiny_images=2, split="test")
    data, said = tmp_path / "data", tmp_path / "said"
    benchmark_data.run(Job(stage="benchmark_data", fingerprint="f", out=data, inputs={"vqa": tmp_path / "vqa"}, config=made))
    records = read_records(data / "items.jsonl", BenchmarkRecord)
    texts = ["It cannot be told.", "Paris"] * len(records)
    predictions = [Prediction(key=r.key, image_key=r.image_key, text=t, logprob=-1.0, num_tokens=1) for r, t in zip(records, texts)]
    write_records(said / "test-000000.jsonl", predictions)
    first = True

    def once(body: dict[str, Any]) -> str:
        nonlocal first
        if first and "how helpful" in prompt_of(body):
            first = False
            return "score: lots"
        return sensible(body)

    with serving(answer=once) as server:
        config = JudgeConfig(kind="openai", base_url=server.url, model="m", rereads=0, concurrency=1)
        stage = JudgeStage(judge=config, split="test", benchmark="mohobench", bootstrap=20)
        job = Job(
            stage="judge", fingerprint="f", out=tmp_path / "r" / "judge" / "j", inputs={"data": data, "predictions": said}, config=stage
        )
        assert judge.run(job)["unjudged"] == 1
    config_ = BenchmarkScoreStage(benchmark="mohobench", seed=0, score=ScoreConfig(bootstrap=20), judge_decides=True)
    inputs = {"data": data, "predictions": said, "verdicts": job.out}
    benchmark_score.run(Job(stage="benchmark_score", fingerprint="f", out=tmp_path / "s", inputs=inputs, config=config_))
    scores = json.loads((tmp_path / "s" / "scores.json").read_text())
    n = len(records)
    assert scores["measures"]["refusal rate"]["value"] == scores["measures"]["refusal rate by judge"]["value"] == (n + 1) // 2 / n
    assert (scores["measures"]["helpfulness"]["value"], scores["measures"]["helpfulness"]["n"]) == (7.0, n - 1)
    assert (scores["measures"]["rationality"]["value"], scores["measures"]["rationality"]["n"]) == (7.0, (n + 1) // 2)
    assert f"1 of {n} responses are unjudged for helpfulness and left out of it." in scores["notes"]
    assert any("kappa 1.00" in note for note in scores["notes"])
