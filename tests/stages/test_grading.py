"""Rewards of outcomes, by the rules and by a judge behind a real HTTP server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_server import FakeServer, serving

from inbol.config.serving import JudgeConfig
from inbol.contracts import Outcome, Question
from inbol.stages.grading import ByJudge, OutcomeReward, by_rules, shares
from inbol.stages.job import Job

CAN = Question(key="a", image_key="i", text="what color is the circle?", answers=("red",))
CANNOT = Question(key="b", image_key="i", text="who drew it?", answerable=False, kind="vague", reason="nobody is shown")
TEXTS = ["red", "I cannot tell.", "blue", "I cannot tell.", "a man", ""]
ASKED = [CAN, CAN, CAN, CANNOT, CANNOT, CAN]


def test_rules_grade_as_the_tables_do() -> None:
    found = by_rules(ASKED, TEXTS)
    assert [str(outcome) for outcome in found] == ["CORRECT", "REFUSED", "WRONG", "REFUSED", "WRONG", "WRONG"]


def test_rewards_and_shares() -> None:
    """Answerable: 1 correct, 1 refused, 2 wrong of 4. Beyond: 1 refused of 2."""
    rewards, logged = OutcomeReward(by_rules, {"refused": 0.1})(ASKED, TEXTS)
    assert rewards == [1.0, 0.1, -1.0, 1.0, -1.0, -1.0]
    assert logged == {"outcomes/correct": 0.25, "outcomes/refused": 0.25, "outcomes/wrong": 0.5, "outcomes/beyond_refused": 0.5}


def test_what_is_unjudged_is_worth_nothing_and_counted() -> None:
    reward = OutcomeReward(lambda questions, texts: [None, Outcome.REFUSED], {})
    assert reward([CAN, CANNOT], ["x", "y"]) == ([None, 1.0], {"outcomes/beyond_refused": 1.0})
    assert reward.unjudged == 1 and shares([CAN], [None]) == {}


def orders(folder: Path, server: FakeServer, **settings: Any) -> tuple[Job, JudgeConfig]:
    values = {"kind": "openai", "decides": True, "base_url": server.url, "model": "m", "attempts": 1, **settings}
    return Job(stage="grpo", fingerprint="f", out=folder / "runs" / "grpo" / "f", inputs={}, config=None, world_size=2), JudgeConfig(
        **values
    )


def test_a_judge_decides_and_is_asked_once_for_each_text(tmp_path: Path) -> None:
    """It finds a refusal in "not a thing here", where the rules find a wrong answer. Correctness is asked of what answers alone."""
    shape = Question(key="c", image_key="i", text="what shape is it?", answers=("circle",))
    asked, texts = [shape, shape, shape, CANNOT, CANNOT], ["not a thing here", "circle", "square", "I cannot tell.", "a man"]
    with serving() as server:
        job, config = orders(tmp_path, server)
        grade = ByJudge(job, config)
        found = grade(asked, texts)
        assert found == [Outcome.REFUSED, Outcome.CORRECT, Outcome.WRONG, Outcome.REFUSED, Outcome.WRONG]
        assert len(server.bodies) == 5 + 2
        assert grade(asked, texts) == found and len(server.bodies) == 7, "the cache answers"
    assert by_rules(asked[:1], texts[:1]) == [Outcome.WRONG]


def test_what_may_be_spent_is_shared_by_the_ranks(tmp_path: Path) -> None:
    """4 requests for 2 ranks: this one sends 2, and what is left is unjudged."""
    with serving() as server:
        job, config = orders(tmp_path, server, max_requests=4)
        reward = OutcomeReward(ByJudge(job, config), {})
        rewards, _ = reward([CANNOT] * 3, ["a man", "a woman", "a child"])
        assert sorted(map(str, rewards)) == ["-1.0", "-1.0", "None"] and reward.unjudged == 1 and len(server.bodies) == 2
