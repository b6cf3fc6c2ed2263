"""`score` and `report` on hand-written stage folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from inbol.config.data import BoundaryConfig, ScoreConfig
from inbol.config.stages import ReportStage, ScoreStage
from inbol.contracts import Confidence, Graded, Prediction, Question, VqaSample
from inbol.shards.files import read_records, write_records
from inbol.shards.manifest import write_manifest
from inbol.shards.writer import write_shard
from inbol.stages import report, score
from inbol.stages.job import Job
from tests.reporting.world import vqa_samples

REFUSAL = "I do not know."


def sample(key: str, split: str, level: int) -> VqaSample:
    """One image with two shape questions, one of them in an unseen wording."""
    image = vqa_samples(1)[0].image
    questions = tuple(
        Question(key=f"{key}-q{i}", image_key=key, text="what shape?", answers=("circle",), kind="shape", wording=wording)
        for i, wording in enumerate(("seen", "unseen"))
    )
    return VqaSample(key=key, image=image, image_format="png", split=split, source="fake", questions=questions, meta={"level": level})


def beyond(key: str, kind: str) -> Question:
    return Question(key=f"{key}-u0", image_key=key, text="why?", answerable=False, kind=kind, wording="unseen", template=f"{kind}-1")


def predict(folder: Path, split: str, said: dict[str, tuple[str, float]]) -> Path:
    """Predictions by question key: text and sequence probability."""
    records = [Prediction(key=k, image_key=k.split("-")[0], text=text, logprob=math.log(p), num_tokens=2) for k, (text, p) in said.items()]
    write_records(folder / f"{split}-000000.jsonl", records)
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Test images a (level 0) and b (level 3), validation images v and w; kinds `vague` (trained) and `other-modality` (not)."""
    vqa, unsolvable = tmp_path / "vqa", tmp_path / "unsolvable"
    write_shard(vqa / "test-000000.tar", [sample("a", "test", 0), sample("b", "test", 3)])
    write_shard(vqa / "align-val-000000.tar", [sample("v", "align-val", 0), sample("w", "align-val", 1)])
    write_records(unsolvable / "align-train-000000.jsonl", [beyond("x", "vague")])
    write_records(unsolvable / "test-000000.jsonl", [beyond("a", "vague"), beyond("b", "other-modality")])
    test = ["a-q0", "a-q1", "b-q0", "b-q1", "a-u0", "b-u0"]
    confidences = [
        Confidence(
            key=key,
            image_key=key[0],
            accuracy=None if "u" in key else {"a": 0.9, "b": 0.1}[key[0]],
            consistency=1.0,
            entropy=0.0,
            logprob=-1.0,
            refused=0.0,
            fresh_accuracy=None if "u" in key else 0.5,
        )
        for key in test
    ]
    write_records(tmp_path / "confidence" / "test-000000.jsonl", confidences)
    base = {key: ("circle", 0.9) if key[0] == "a" else ("square", 0.4) for key in test}
    system = {key: ("circle", 0.9) if key in ("a-q0", "a-q1") else (REFUSAL, 0.8) for key in test}
    # by falling probability: right .8, wrong .6 -> the best level is .7; the unseen wordings must play no part
    val = {"v-q0": ("circle", 0.8), "w-q0": ("square", 0.6), "v-q1": ("circle", 0.1), "w-q1": ("circle", 0.1)}
    return {
        "vqa": vqa,
        "unsolvable": unsolvable,
        "confidence": tmp_path / "confidence",
        "predictions": predict(tmp_path / "predictions", "test", system),
        "base_predictions": predict(tmp_path / "base_predictions", "test", base),
        "val_predictions": predict(tmp_path / "val_predictions", "align-val", val),
    }


def job(out: Path, inputs: dict[str, Path], row: str, **changes: Any) -> Job:
    config = ScoreStage(score=ScoreConfig(bootstrap=50), boundary=BoundaryConfig(), row=row, split="test")
    return Job(stage="score", fingerprint="f", out=out, inputs={**inputs, **changes}, config=config)


def test_score_writes_outcomes_and_scores(tmp_path: Path, inputs: dict[str, Path]) -> None:
    facts = score.run(job(tmp_path / "dpo", inputs, "dpo"))
    rows = {g.key: g for g in read_records(tmp_path / "dpo" / "outcomes.jsonl", Graded)}
    assert {k: g.outcome.value for k, g in rows.items()} == {
        "a-q0": "CORRECT",
        "a-q1": "CORRECT",
        "b-q0": "REFUSED",
        "b-q1": "REFUSED",
        "a-u0": "REFUSED",
        "b-u0": "REFUSED",
    }
    assert (rows["b-q0"].level, rows["b-q0"].confidence, rows["b-q0"].base_outcome.value) == (3, 0.1, "WRONG")
    scores = json.loads((tmp_path / "dpo" / "scores.json").read_text())
    assert scores["held_out"] == ["other-modality"]
    assert scores["slices"]["answerable"]["T0"]["value"] == 0.5  # a-q0 right, b-q0 refused
    assert scores["slices"]["trust"]["T1 50/50"]["value"] == 0.75
    assert scores["slices"]["unsolvable/held-out"]["RefR"]["n"] == 1
    assert "confidence" not in scores
    assert facts["questions"] == 6
    assert facts["T0"] == 0.5


def test_threshold_row_refuses_below_the_level_chosen_on_validation(tmp_path: Path, inputs: dict[str, Path]) -> None:
    del inputs["predictions"]  # the base's own are meant
    score.run(job(tmp_path / "threshold", inputs, "threshold"))
    scores = json.loads((tmp_path / "threshold" / "scores.json").read_text())
    assert scores["threshold"] == {"level": pytest.approx(0.7), "T0": 0.5, "T0 of the base": 0.0, "n": 2}
    rows = {g.key: (g.outcome.value, g.text) for g in read_records(tmp_path / "threshold" / "outcomes.jsonl", Graded)}
    assert rows["a-q0"] == ("CORRECT", "circle")
    assert rows["b-q0"] == ("REFUSED", "REFUSED")
    assert rows["b-u0"] == ("REFUSED", "REFUSED")


def test_threshold_row_without_validation_predictions_says_so(tmp_path: Path, inputs: dict[str, Path]) -> None:
    del inputs["val_predictions"]
    with pytest.raises(ValueError, match="val_predictions"):
        score.run(job(tmp_path / "out", inputs, "threshold"))


def test_missing_predictions_leave_nothing_behind(tmp_path: Path, inputs: dict[str, Path]) -> None:
    empty = predict(tmp_path / "empty", "test", {"a-q0": ("circle", 0.9)})
    with pytest.raises(ValueError, match="predictions: nothing for 5 questions"):
        score.run(job(tmp_path / "out", inputs, "dpo", predictions=empty))
    assert not (tmp_path / "out").exists()


def test_report_of_three_rows(tmp_path: Path, inputs: dict[str, Path]) -> None:
    folders = {row: tmp_path / row for row in ("base", "threshold", "dpo")}
    score.run(job(folders["base"], inputs, "base", predictions=inputs["base_predictions"]))
    assert "confidence" in json.loads((folders["base"] / "scores.json").read_text())
    score.run(job(folders["threshold"], inputs, "threshold", predictions=inputs["base_predictions"]))
    score.run(job(folders["dpo"], inputs, "dpo"))
    train = tmp_path / "train"
    train.mkdir()
    (train / "log_history.json").write_text(json.dumps([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]))
    made: dict[str, Any] = {"config": {}, "parents": {}, "facts": {}}
    write_manifest(train, stage="dpo", fingerprint="0123456789abcdef", stage_version=1, seconds=1.0, world_size=2, **made)
    config = ReportStage(
        title="inbol-dpo",
        rows=tuple(folders),
        labels={"dpo": "CA-DPO"},
        score=ScoreConfig(bootstrap=50),
        boundary=BoundaryConfig(),
    )
    roles = {**folders, "train:dpo": train, "vqa": inputs["vqa"]}
    order = Job(stage="report", fingerprint="f", out=tmp_path / "report", inputs=roles, config=config)
    facts = report.run(order)
    assert facts == {"rows": 3, "base T0": 0.0, "threshold T0": 0.5, "CA-DPO T0": 0.5}
    assert "| CA-DPO " in (tmp_path / "report" / "table.md").read_text()
    assert (tmp_path / "report" / "plots" / "training.png").exists()
    page = (tmp_path / "report" / "report.html").read_text()
    assert "refuses below p = 0.700, chosen on align-val" in page
    assert page.count("data:image/png") == 4 + 2

    incomplete = Job(stage="report", fingerprint="f", out=tmp_path / "r2", inputs={"base": folders["base"]}, config=config)
    with pytest.raises(ValueError, match="threshold, dpo"):
        report.run(incomplete)
