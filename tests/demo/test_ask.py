"""What is said is what `predict` records, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy

from inbol.config.data import PredictConfig
from inbol.config.stages import PredictStage
from inbol.contracts import Outcome, Prediction, Question
from inbol.demo.ask import MAX_QUESTION, Said, System, ask
from inbol.demo.show import choice, picture, problem, reply
from inbol.evaluation.calibrated import calibration_of, write_calibration
from inbol.evaluation.risk_control import Choice, Promise
from inbol.shards.files import read_records
from inbol.stages import predict
from inbol.stages.job import Job
from inbol.text.refusals import LEADING
from inbol.training.binding import model_binding
from tests.demo.world import number, write_checkpoint, write_data

TOKENS = 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and two random models."""
    folder = tmp_path_factory.mktemp("runs")
    write_data(folder)
    for name, seed in (("tuned", 5), ("base", 3)):
        write_checkpoint(folder / name / "checkpoint", seed)
    return folder


def system(runs: Path, name: str) -> System:
    return System(name, runs / name / "checkpoint", prompt="plain", max_new_tokens=TOKENS)


@pytest.fixture(scope="module")
def systems(runs: Path) -> list[System]:
    return [system(runs, "tuned"), system(runs, "base")]


def recorded(runs: Path, name: str, out: Path) -> dict[str, Prediction]:
    inputs = {"vqa": runs / "ingest" / number("ingest"), "unsolvable": runs / "unsolvable" / number("unsolvable"), "model": runs / name}
    stage = PredictStage(predict=PredictConfig(max_new_tokens=TOKENS), split="test", prompt="plain")
    predict.run(Job(stage="predict", fingerprint="f", out=out, inputs=inputs, config=stage))
    return {p.key: p for p in read_records(out / "test-000000.jsonl", Prediction)}


def test_what_is_said_is_what_predict_records(runs: Path, systems: list[System], tmp_path: Path) -> None:
    for place, name in enumerate(("tuned", "base")):
        for key, prediction in recorded(runs, name, tmp_path / name).items():
            said = ask(systems, toy.image(prediction.image_key), toy.WHAT if key.endswith("q0") else toy.WHO)[place]
            assert (said.text, said.withheld) == (prediction.text, False)
            assert said.logprob == pytest.approx(prediction.logprob, abs=1e-4)


def test_the_margin_is_the_refusals_against_the_answer(systems: list[System]) -> None:
    """Against padded conversations without trees."""
    said = ask(systems, toy.image("red"), toy.WHAT)[0]
    with torch.no_grad():
        refusals = toy.padded_logps(toy.model(5), [(toy.image("red"), toy.WHAT, text) for text in LEADING])
    assert said.refusal == pytest.approx(float(refusals.double().logsumexp(0)), abs=1e-3)
    assert said.margin == pytest.approx(said.refusal - said.answer_logprob)
    assert (said.answer, said.answer_of, said.answer_logprob) == (said.text, "tuned", said.logprob)
    assert said.outcome is None


def refusing(monkeypatch: pytest.MonkeyPatch, *systems: System) -> None:
    """A random model never refuses by itself; these say so, and everything else stays theirs."""
    for one in systems:
        monkeypatch.setattr(one, "respond", lambda tree: (toy.REFUSALS[0], -1.5))


def test_a_refusal_is_held_against_the_other_systems_answer(systems: list[System], monkeypatch: pytest.MonkeyPatch) -> None:
    tuned, base = systems
    refusing(monkeypatch, tuned)
    said, other = ask(systems, toy.image("red"), toy.WHAT)
    assert said.refused and not other.refused and (said.answer, said.answer_of) == (other.text, "base")
    expected = tuned.logp(tuned.tree(toy.image("red"), toy.WHAT), [other.text])
    assert said.margin == pytest.approx(said.refusal - expected)
    refusing(monkeypatch, base)
    said, _ = ask(systems, toy.image("red"), toy.WHAT)
    assert (said.answer_of, said.answer_logprob) == ("", -1.5)


def test_the_calibration_of_a_checkpoint_is_applied(runs: Path, systems: list[System], tmp_path: Path) -> None:
    """From -log P(response) of this very response on: withheld, as `predict` does, and counted as a refusal."""
    plain = ask(systems, toy.image("red"), toy.WHAT)[0]
    checkpoint = write_checkpoint(tmp_path / "ruled" / "checkpoint", 5)
    choice = Choice(threshold=-plain.logprob - 1e-3, risk=0.0, coverage=1.0, p_value=None, images=3, questions=3)
    rule = calibration_of(
        choice, Promise(), score="probability", refusals=toy.REFUSALS, prompt="plain", split="align-val", made_from={},
        model=model_binding(checkpoint),
    )  # fmt: skip
    write_calibration(checkpoint, rule)
    ruled = system(tmp_path, "ruled")
    assert ruled.refusals == toy.REFUSALS
    known = Question(key="k", image_key="red", text=toy.WHAT, answers=(plain.text,))
    (said,) = ask([ruled], toy.image("red"), toy.WHAT, known)
    assert (said.text, said.withheld, said.refused, said.outcome) == (plain.text, True, True, Outcome.REFUSED)
    assert "withheld by its rule" in reply([said]) and "Promised: share of wrong ones" in reply([said])
    allowing = System("ruled", checkpoint, prompt="allow-refusal", max_new_tokens=TOKENS)
    assert allowing.rule is None
    write_checkpoint(checkpoint, 6)
    with pytest.raises(ValueError, match="was made for another model weights"):
        system(tmp_path, "ruled")


def test_a_known_question_is_graded(systems: list[System], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems[0], "respond", lambda tree: ("red", -1.0))
    known = Question(key="k", image_key="red", text=toy.WHAT, answers=("red",))
    assert ask(systems[:1], toy.image("red"), toy.WHAT, known)[0].outcome is Outcome.CORRECT
    beyond = Question(key="k", image_key="red", text=toy.WHAT, answerable=False, kind="vague")
    assert ask(systems[:1], toy.image("red"), toy.WHAT, beyond)[0].outcome is Outcome.WRONG


def test_questions_that_cannot_be_asked_are_refused(systems: list[System]) -> None:
    for question, message in (
        (" \n", "type a question first"),
        ("a" * (MAX_QUESTION + 1), "at most 2000 are asked"),
        ("what is <image>?", "contains the image placeholder itself"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(systems, toy.image("red"), question)


def test_everything_shown_is_escaped() -> None:
    """Labels, responses, gold answers and mistakes: from models, data sets and people."""
    bad = "<script>alert(1)</script>"
    said = Said(
        label=bad, text=bad, logprob=-1.0, refused=False, withheld=False, refusal=-2.0, answer=bad, answer_of=bad, answer_logprob=-1.0,
        rule=None, score=-1.0, outcome=Outcome.WRONG,
    )  # fmt: skip
    known = Question(key="k", image_key="i", text=bad, answerable=False, kind=bad, reason=bad)
    for html in (reply([said], known), reply([said], Question(key="k", image_key="i", text=bad, answers=(bad,))), problem(bad)):
        assert "<script" not in html and "&lt;script" in html
    assert 'alt="&quot;' in picture(toy.image("red"), alt='"x')
    assert choice(known) == f"{bad}  —  beyond the image: {bad}"


def test_the_bar_points_to_the_likelier_side() -> None:
    def bar(refusal: float) -> str:
        said = Said(
            label="a", text="red", logprob=-1.0, refused=False, withheld=False, refusal=refusal, answer="red", answer_of="a",
            answer_logprob=-1.0, rule=None, score=0.0, outcome=None,
        )  # fmt: skip
        return reply([said])

    assert "<output>+4.00</output>" in bar(3.0) and 'fill refusing" style="width: 20.00%; left: 50%"' in bar(3.0)
    assert "<output>-99.00</output>" in bar(-100.0) and 'fill answering" style="width: 50.00%; right: 50%"' in bar(-100.0)
