"""Stage `estimate`: the scores of single confidence estimators, from samples and replies, without a model.

An estimator that is trained sees `align-train` alone. What it scores there is scored by one trained on other images (cross-fitting), so
that no question's score has seen its own label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inbol.config.stages import EstimateStage
from inbol.contracts import Estimate, Probed, Question, ResponseSet
from inbol.probing.asks import Evidence
from inbol.probing.estimators.base import Score
from inbol.probing.estimators.registry import ESTIMATORS
from inbol.shards.reader import split_of
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, record_names, records_by_key, write_each

TRAIN = "align-train"


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `Estimate` for every shard of the `responses` input. Returns the mean of every score by split."""
    config: EstimateStage = job.config
    names = record_names(job.inputs["responses"])
    estimators = _Estimators(job, config, in_train=any(split_of(name) == TRAIN for name in names))

    def build(name: str) -> Iterator[Estimate]:
        questions, evidence = read_evidence(job, name)
        for key, question in questions.items():
            scores = estimators.scores(evidence[key], split_of(name)) if question.answerable else {}
            yield Estimate(key=key, image_key=question.image_key, scores=scores)

    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name, records in write_each(job, names, build, Estimate):
        for record in records:
            for estimator, score in record.scores.items():
                label = f"{split_of(name)}/{estimator}"
                sums[label], counts[label] = sums.get(label, 0.0) + score, counts.get(label, 0) + 1
    return {"scored": max(counts.values(), default=0), "means": {label: round(sums[label] / counts[label], 6) for label in sorted(sums)}}


def read_evidence(job: Job, name: str, *, prefix: str = "") -> tuple[dict[str, Question], dict[str, Evidence]]:
    """Questions and evidence of a shard by key, from the inputs `<prefix>responses` and, where it is there, `<prefix>probe`."""
    questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
    responses = records_by_key(job.inputs[f"{prefix}responses"], name, ResponseSet, questions)
    folder: Path | None = job.inputs.get(f"{prefix}probe")
    probed = records_by_key(folder, name, Probed, questions) if folder else {}
    return questions, {key: Evidence(question, responses[key], probed.get(key)) for key, question in questions.items()}


class _Estimators:
    """The estimators of a job, the trained ones trained at their first use."""

    def __init__(self, job: Job, config: EstimateStage, *, in_train: bool) -> None:
        self.job, self.config = job, config
        self.prefix = "" if in_train else "train_"
        self.train: list[Evidence] | None = None
        self.fitted: dict[tuple[str, int | None], Score] = {}

    def scores(self, evidence: Evidence, split: str) -> dict[str, float]:
        fold = fold_of(evidence.question.image_key, self.config.folds) if split == TRAIN and self.config.folds else None
        return {name: self._score(name, fold)(evidence) for name in self.config.estimators}

    def _score(self, name: str, fold: int | None) -> Score:
        estimator = ESTIMATORS[name]
        if estimator.estimate is not None:
            return estimator.estimate
        assert estimator.fit is not None
        if (name, fold) not in self.fitted:
            train = [e for e in self._train() if fold is None or fold_of(e.question.image_key, self.config.folds) != fold]
            self.fitted[name, fold] = estimator.fit(train, self.config.ridge)
        return self.fitted[name, fold]

    def _train(self) -> list[Evidence]:
        if self.train is None:
            role = f"{self.prefix}responses"
            if role not in self.job.inputs:
                raise ValueError(f"estimate: a trained estimator needs the input {role!r}, with the samples of {TRAIN}")
            names = [name for name in record_names(self.job.inputs[role]) if split_of(name) == TRAIN]
            shards = (read_evidence(self.job, name, prefix=self.prefix)[1] for name in names)
            self.train = [e for shard in shards for e in shard.values() if e.question.answerable]
        return self.train


def fold_of(image_key: str, folds: int) -> int:
    """Which fold an image belongs to, in [0, folds), with all its questions; by its key alone."""
    return int.from_bytes(hashlib.sha256(image_key.encode()).digest()[:8], "big") % folds
