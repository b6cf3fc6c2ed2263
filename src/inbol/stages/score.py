"""`score`: a system's predictions become outcomes and numbers; no model is needed, so a mended rule only reruns this."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inbol.config.stages import ScoreStage
from inbol.contracts import Confidence, Features, Graded, Prediction, Question, RefusalLogp
from inbol.evaluation.bootstrap import resample
from inbol.evaluation.calibrated import Calibration, read_calibration, refuses, responses_of, scores
from inbol.evaluation.items import Items
from inbol.evaluation.metrics import values
from inbol.evaluation.outcomes import grade, join
from inbol.evaluation.risk_control import achieved, risk_measure
from inbol.evaluation.scores import confidence_quality, number, score
from inbol.evaluation.threshold import Threshold, choose_threshold
from inbol.shards.files import read_records, write_records, write_text
from inbol.shards.reader import read_shard, shard_names
from inbol.stages.job import Job
from inbol.stages.verdicts import judged_by, read_verdicts

T = TypeVar("T", Confidence, Features, Prediction, RefusalLogp)


def run(job: Job) -> dict[str, Any]:
    """Write `outcomes.jsonl` (one `Graded` per question) and `scores.json` (every measure by slice, with interval and n)."""
    config: ScoreStage = job.config
    questions, levels = read_questions(job.inputs, config.split)
    base = by_key(job.inputs["base_predictions"], config.split, Prediction)
    threshold = choose_level(job) if config.row == "threshold" else None
    predictions = by_key(job.inputs["predictions"], config.split, Prediction) if "predictions" in job.inputs else base
    withheld, promise = calibrated(job, config, questions, predictions) if config.row == "calibrated" else (set(), None)
    graded = join(
        questions,
        levels=levels,
        predictions=predictions,
        base_predictions=base,
        confidences=by_key(job.inputs["confidence"], config.split, Confidence),
        refuse_below=threshold.level if threshold else 0.0,
        withheld=withheld,
    )
    verdicts = read_verdicts(job)
    judged = judged_by(graded, verdicts, row=config.row) if verdicts else None
    if judged and config.judge_decides:
        graded = judged.decided
    measured = to_scores(config, graded, held_out=held_out_kinds(job, questions), threshold=threshold)
    if promise:
        measured["calibrated"] = promise
    if own := sum(prediction.withheld for prediction in predictions.values()):
        measured["withheld by the checkpoint"] = own
    if judged:
        measured["judge"] = judged.summary(config.judge_decides, job.inputs)
    write_records(job.out / "outcomes.jsonl", graded)
    write_text(job.out / "scores.json", json.dumps(measured, indent=1, sort_keys=True, allow_nan=False) + "\n")
    trust = measured["slices"]["answerable"]["T0"]
    return {"questions": len(graded), "images": measured["images"], "T0": trust["value"], "T0_interval": [trust["low"], trust["high"]]}


def to_scores(config: ScoreStage, graded: list[Graded], *, held_out: set[str], threshold: Threshold | None) -> dict[str, Any]:
    """The content of scores.json. The quality of the confidence belongs to the base and stands in its row alone."""
    resampling = {"resamples": config.score.bootstrap, "seed": config.score.seed}
    scores = score(graded, tau=config.boundary.tau, held_out=held_out, **resampling)
    scores["row"], scores["split"] = config.row, config.split
    if threshold:
        scores["threshold"] = {"level": threshold.level, "T0": threshold.t0, "T0 of the base": threshold.t0_unthresholded, "n": threshold.n}
    if config.row == "base":
        quality = confidence_quality(Items.of(graded), **resampling)
        scores["confidence"] = {
            name: {metric: number(r.value, r.samples, r.n) for metric, r in metrics.items()} for name, metrics in quality.items()
        }
    return scores


def calibrated(
    job: Job, config: ScoreStage, questions: list[Question], predictions: dict[str, Prediction]
) -> tuple[set[str], dict[str, Any]]:
    """Keys of the responses that the calibration withholds, and what it promised beside what it achieved here.

    Raises:
        ValueError: no `calibration`, or a response without log P(refusal).
    """
    rule = read_calibration(job.inputs["calibration"])
    if rule is None:
        raise ValueError(f"row 'calibrated': {job.inputs['calibration']} holds no calibration.json; run the recipe again")
    score = scores(predictions, by_key(job.inputs["refusal_logps"], config.split, RefusalLogp), rule.score)
    return {key for key, value in score.items() if refuses(rule, value)}, promised(rule, config, questions, predictions, score)


def promised(
    rule: Calibration, config: ScoreStage, questions: list[Question], predictions: dict[str, Prediction], score: dict[str, float]
) -> dict[str, Any]:
    """Promised against achieved risk, and the coverage with and without the rule."""
    responses = responses_of(questions, predictions, score)
    threshold = math.inf if rule.threshold is None else rule.threshold
    measure = risk_measure(responses, threshold, rule.promise)
    images = np.arange(responses.images)
    samples = resample([measure], images, num_images=len(images), resamples=config.score.bootstrap, seed=config.score.seed)
    before, coverage_before = achieved(responses, math.inf, rule.promise)
    return {
        "level": rule.promise.level,
        "guarantee": rule.guarantee,
        "score": rule.score,
        "threshold": rule.threshold,
        "images": rule.images,
        "split": rule.split,
        "validation risk": rule.validation_risk,
        "risk": number(measure.value, samples[:, 0], measure.n),
        "coverage": achieved(responses, threshold, rule.promise)[1],
        "risk without": before,
        "coverage without": coverage_before,
    }


def choose_level(job: Job) -> Threshold:
    """The level of the sequence probability that maximises T0 on answerable questions in seen wordings of `align-val`.

    Raises:
        ValueError: no `val_predictions`, or one of them is missing.
    """
    if "val_predictions" not in job.inputs:
        raise ValueError("row 'threshold' needs the input 'val_predictions': the base's predictions on align-val, to choose its level on")
    predictions = by_key(job.inputs["val_predictions"], "align-val", Prediction)
    questions = [q for q in read_questions(job.inputs, "align-val")[0] if q.answerable and q.wording == "seen"]
    if missing := [q.key for q in questions if q.key not in predictions]:
        raise ValueError(f"val_predictions: nothing for {len(missing)} questions, first {missing[0]!r}; run predict on align-val again")
    probability = np.array([math.exp(predictions[q.key].logprob) for q in questions])
    return choose_threshold(probability, values(grade(predictions[q.key], q) for q in questions))


def read_questions(inputs: Mapping[str, Path], split: str) -> tuple[list[Question], dict[str, int]]:
    """Every question of a split, answerable ones first, and the degradation level by image key."""
    questions: list[Question] = []
    levels: dict[str, int] = {}
    for name in shard_names(inputs["vqa"], [split]):
        for sample in read_shard(inputs["vqa"], name):
            questions += sample.questions
            levels[sample.key] = int(sample.meta.get("level", 0))
    if not questions:
        raise ValueError(f"vqa: no questions in split {split!r} of {inputs['vqa']}; give the source images for it")
    return questions + unsolvable_questions(inputs, split), levels


def unsolvable_questions(inputs: Mapping[str, Path], split: str) -> list[Question]:
    """The questions beyond the image of one split; none where the stage made none."""
    return [q for path in record_files(inputs["unsolvable"], split) for q in read_records(path, Question)]


def held_out_kinds(job: Job, questions: list[Question]) -> set[str]:
    """Kinds of questions beyond the image that are asked here and never stood in `align-train`; empty where nothing was trained on."""
    trained = {q.kind for q in unsolvable_questions(job.inputs, "align-train")}
    return {q.kind for q in questions if not q.answerable} - trained if trained else set()


def record_files(folder: Path, split: str) -> list[Path]:
    """The record files of one split, in order."""
    return sorted(folder.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9][0-9].jsonl"))


def by_key(folder: Path, split: str, cls: type[T]) -> dict[str, T]:
    """The records of one split by question key. Raises ValueError for a key that occurs twice."""
    out: dict[str, T] = {}
    for path in record_files(folder, split):
        for record in read_records(path, cls):
            if record.key in out:
                raise ValueError(f"{path}: key {record.key!r} occurs twice; delete {folder} and run the stage again")
            out[record.key] = record
    return out
