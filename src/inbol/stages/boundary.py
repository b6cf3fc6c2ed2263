"""Stage `boundary`: known, unknown or beyond the image, with the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from inbol.config.data import BoundaryConfig
from inbol.contracts import BoundaryLabel, Confidence, Estimate
from inbol.probing.boundary import draw_boundary
from inbol.probing.calibrate import isotonic
from inbol.probing.estimators.registry import ESTIMATORS
from inbol.shards.files import read_records
from inbol.shards.reader import split_of
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, record_names, records_by_key, write_each

VALIDATION = "align-val"


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `BoundaryLabel` for every shard of the `confidence` input. Returns counts by split and label.

    With the input `estimates` its scores decide in place of the accuracy; those that are no probability through a map that is fitted on
    align-val (`probing/calibrate.py`), whose threshold is among the facts then.
    """
    config: BoundaryConfig = job.config.boundary
    name, probability, facts = _decider(job, config.tau) if "estimates" in job.inputs else ("", None, {})

    def build(shard: str) -> Iterable[BoundaryLabel]:
        questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], shard)
        confidences = records_by_key(job.inputs["confidence"], shard, Confidence, questions)
        if probability is None:
            return (draw_boundary(q, confidences[key], tau=config.tau, mistaken=config.mistaken) for key, q in questions.items())
        estimates = records_by_key(job.inputs["estimates"], shard, Estimate, questions)
        return (
            draw_boundary(
                question,
                confidences[key],
                tau=config.tau,
                mistaken=config.mistaken,
                decides=probability(estimates[key].scores[name]) if question.answerable else None,
                estimator=name,
            )
            for key, question in questions.items()
        )

    labels = Counter[str]()
    for shard, records in write_each(job, record_names(job.inputs["confidence"]), build, BoundaryLabel):
        labels.update(f"{split_of(shard)}/{record.label}" for record in records)
    return {"questions": labels.total(), "labels": dict(sorted(labels.items())), **facts}


def _decider(job: Job, tau: float) -> tuple[str, Callable[[float], float], dict[str, Any]]:
    """Name of the estimator that decides, the map from its scores to probabilities, and what is to be said about it."""
    folder = job.inputs["estimates"]
    shards = record_names(folder)
    names = {name for shard in shards for record in read_records(folder / f"{shard}.jsonl", Estimate) for name in record.scores}
    if len(names) != 1:
        raise ValueError(f"boundary: {folder} holds the scores of {', '.join(sorted(names)) or 'no estimator'}; exactly one can decide")
    (name,) = names
    if ESTIMATORS[name].probability:
        return name, lambda score: score, {"estimator": name}
    scores: list[float] = []
    shares: list[float] = []
    for shard in (shard for shard in shards if split_of(shard) == VALIDATION):
        accuracy = {record.key: record.accuracy for record in read_records(job.inputs["confidence"] / f"{shard}.jsonl", Confidence)}
        for record in read_records(folder / f"{shard}.jsonl", Estimate):
            if record.scores and (share := accuracy[record.key]) is not None:
                scores.append(record.scores[name])
                shares.append(share)
    fitted = isotonic(scores, shares)
    return name, fitted, {"estimator": name, "threshold": fitted.threshold(tau), "fitted_on": len(scores)}
