"""From predictions and log P(refusal) to a rule, the row that applies it, and a checkpoint that carries it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from inbol.config.data import BoundaryConfig, PredictConfig, ScoreConfig
from inbol.config.risk import RiskConfig
from inbol.config.stages import CalibrateStage, PredictStage, RefusalLogpsStage, ScoreStage
from inbol.contracts import Confidence, Graded, Prediction, Question, RefusalLogp, VqaSample
from inbol.evaluation.calibrated import CALIBRATION, Calibration, calibration_of, read_calibration, write_calibration
from inbol.evaluation.risk_control import Choice, Promise
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import calibrate, predict, refusal_logps, score
from inbol.stages.job import Job
from inbol.training.binding import model_binding
from tests.reporting.world import vqa_samples

WRONG = 1.0
"""From this margin on every response of the made-up splits is wrong."""


def write_split(folder: Path, split: str, images: int) -> None:
    """One question per image and one beyond it. Image i answers with margin 2 i / images: right below 1, wrong from 1 on."""
    image, samples, said, refusals = vqa_samples(1)[0].image, [], [], []
    beyond, confidences = [], []
    for i in range(images):
        key = f"{split}{i:03d}"
        question = Question(key=f"{key}-q0", image_key=key, text="what shape?", answers=("circle",), kind="shape")
        samples.append(
            VqaSample(key=key, image=image, image_format="png", split=split, source="fake", questions=(question,), meta={"level": 0})
        )
        beyond.append(Question(key=f"{key}-u0", image_key=key, text="why?", answerable=False, kind="vague", template="vague-1"))
        margin = 2 * i / images
        for end, text in (("q0", "circle" if margin < WRONG else "square"), ("u0", "I do not know.")):
            said.append(Prediction(key=f"{key}-{end}", image_key=key, text=text, logprob=-0.5, num_tokens=2))
            refusals.append(RefusalLogp(key=f"{key}-{end}", image_key=key, logprob=margin - 0.5))
            accuracy = 0.5 if end == "q0" else None
            confidences.append(
                Confidence(key=f"{key}-{end}", image_key=key, accuracy=accuracy, consistency=1.0, entropy=0.0, logprob=-1.0, refused=0.0)
            )
    write_shard(folder / "vqa" / f"{split}-000000.tar", samples)
    for name, records in (("unsolvable", beyond), ("predictions", said), ("refusal_logps", refusals), ("confidence", confidences)):
        write_records(folder / name / f"{split}-000000.jsonl", records)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_split(tmp_path, "align-val", 200)
    write_split(tmp_path, "test", 40)
    write_records(tmp_path / "unsolvable" / "align-train-000000.jsonl", [])
    (tmp_path / "refusal_logps" / "binding.json").write_text(json.dumps({"model weights": "abc"}))
    return tmp_path


def job(world: Path, stage: str, config: Any, out: str, *roles: str) -> Job:
    return Job(stage=stage, fingerprint="f", out=world / out, inputs={role: world / role for role in roles}, config=config)


def calibrated(world: Path, **risk: Any) -> dict[str, Any]:
    stage = CalibrateStage(risk=RiskConfig(**risk), split="align-val", prompt="plain", refusals=("I do not know.",))
    return calibrate.run(job(world, "calibrate", stage, "calibration", "vqa", "unsolvable", "predictions", "refusal_logps"))


def test_a_rule_is_chosen_and_says_what_it_promises(world: Path) -> None:
    """Conformal: wrong answers are half of their image's questions; (k / 2 + 1) / 201 <= .05 allows k = 18 wrong ones, the first of which
    has margin 1 exactly, so the threshold is that of the nineteenth, 1.18."""
    facts = calibrated(world, risk="wrong", level=0.05)
    assert facts["threshold"] == pytest.approx(1.18)
    assert facts["validation_risk"] == pytest.approx(18 / 2 / 200)
    rule = read_calibration(world / "calibration")
    assert rule is not None
    assert (rule.images, rule.questions, rule.split, rule.model) == (200, 400, "align-val", {"model weights": "abc"})
    assert "arXiv 2208.02814" in rule.guarantee
    assert set(rule.made_from) == {"vqa", "unsolvable", "predictions", "refusal_logps"}


def test_what_cannot_be_promised_names_the_smallest_level(world: Path) -> None:
    with pytest.raises(ValueError, match=r"risk.level: 0.004 cannot be promised on 200 images .* smallest that can be is 0.005"):
        calibrated(world, risk="wrong", level=0.004)
    assert not (world / "calibration").exists()


def test_the_row_withholds_from_the_threshold_on(world: Path) -> None:
    """40 test images with margins 0, .05, ...: a threshold between right and wrong leaves 20 right answers of 80 questions."""
    calibrated(world, level=0.2)
    rule = read_calibration(world / "calibration")
    assert rule is not None and rule.threshold is not None
    (world / "base_predictions").symlink_to(world / "predictions")
    roles = ("vqa", "unsolvable", "predictions", "base_predictions", "refusal_logps", "calibration", "confidence")
    stage = ScoreStage(score=ScoreConfig(bootstrap=20), boundary=BoundaryConfig(), row="calibrated", split="test")
    score.run(job(world, "score", stage, "score", *roles))
    rows = {g.key: g for g in read_records(world / "score" / "outcomes.jsonl", Graded)}
    below = math.ceil(rule.threshold / 0.05 - 1e-9)
    assert sum(g.text == "REFUSED" for g in rows.values()) == 2 * (40 - below)
    assert {g.outcome.value for g in rows.values() if g.text == "circle"} == {"CORRECT"}
    kept = json.loads((world / "score" / "scores.json").read_text())["calibrated"]
    assert kept["level"] == 0.2
    assert kept["coverage"] == pytest.approx(below / 80)
    assert kept["risk"]["value"] == pytest.approx(max(0, below - 20) / below)
    assert kept["risk"]["value"] <= 0.2
    assert (kept["risk without"], kept["coverage without"]) == (0.5, 0.5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A random model, the vqa folder of three pictures, and no questions beyond them."""
    toy.model(3).save_pretrained(tmp_path / "model" / "checkpoint")
    toy.processor().save_pretrained(tmp_path / "model" / "checkpoint")
    samples = []
    for color in ("red", "green", "blue"):
        path = tmp_path / f"{color}.png"
        toy.image(color).save(path)
        question = Question(key=f"{color}-q0", image_key=color, text=toy.WHAT, answers=(color,))
        samples.append(VqaSample(key=color, image=path.read_bytes(), image_format="png", split="test", source="toy", questions=(question,)))
    write_shard(tmp_path / "vqa" / "test-000000.tar", samples)
    write_records(tmp_path / "unsolvable" / "test-000000.jsonl", [])
    return tmp_path


def predicted(model: Path, out: str) -> dict[str, Prediction]:
    stage = PredictStage(predict=PredictConfig(max_new_tokens=4), split="test", prompt="plain")
    predict.run(job(model, "predict", stage, out, "vqa", "unsolvable", "model"))
    return {p.key: p for p in read_records(model / out / "test-000000.jsonl", Prediction)}


def test_log_p_refusal_is_the_sum_over_the_texts(model: Path) -> None:
    stage = RefusalLogpsStage(split="test", prompt="plain", refusals=toy.REFUSALS)
    refusal_logps.run(job(model, "refusal_logps", stage, "refusal_logps", "vqa", "unsolvable", "model"))
    found = {r.key: r.logprob for r in read_records(model / "refusal_logps" / "test-000000.jsonl", RefusalLogp)}
    assert (model / "refusal_logps" / "binding.json").exists()
    with torch.no_grad():
        for color in ("red", "green", "blue"):
            logps = toy.padded_logps(toy.model(3), [(toy.image(color), toy.WHAT, text) for text in toy.REFUSALS])
            assert found[f"{color}-q0"] == pytest.approx(float(logps.double().logsumexp(0)), abs=1e-3)


def rule(world: Path, threshold: float, **changes: Any) -> Calibration:
    """One that refuses from this -log P(response) on."""
    choice = Choice(threshold=threshold, risk=0.0, coverage=1.0, p_value=None, images=3, questions=3)
    values = {"prompt": "plain", "model": model_binding(world / "model" / "checkpoint"), **changes}
    return calibration_of(choice, Promise(), score="probability", refusals=toy.REFUSALS, split="align-val", made_from={}, **values)


def test_predict_honours_the_rule_of_its_checkpoint(model: Path) -> None:
    """The least likely of three responses is withheld, and keeps its text."""
    plain = predicted(model, "plain")
    assert not any(p.withheld for p in plain.values())
    least = min(plain.values(), key=lambda p: p.logprob)
    write_calibration(model / "model" / "checkpoint", rule(model, -least.logprob))
    found = predicted(model, "ruled")
    assert {key for key, p in found.items() if p.withheld} == {least.key}
    assert {key: p.text for key, p in found.items()} == {key: p.text for key, p in plain.items()}


def test_a_rule_of_other_weights_is_refused(model: Path) -> None:
    write_calibration(model / "model" / "checkpoint", rule(model, 1.0, model={"model weights": "abc"}))
    with pytest.raises(ValueError, match=rf"{CALIBRATION} was made for another model weights"):
        predicted(model, "ruled")


def test_a_rule_for_another_prompt_is_none(model: Path) -> None:
    write_calibration(model / "model" / "checkpoint", rule(model, 0.0, prompt="allow-refusal"))
    assert not any(p.withheld for p in predicted(model, "ruled").values())


def test_a_damaged_rule_is_named(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION).write_text("{}")
    with pytest.raises(ValueError, match=r"calibration.json: Calibration lacks .*run make calibrate again"):
        read_calibration(tmp_path)
