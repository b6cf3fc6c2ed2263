"""Stage `features`: confidence and entropy of every question of a split, as prompts are to say them.

Measured by sampling (input `confidence`), or read off what a model predicts from the question (input `predictions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inbol.config.features import FeaturesStage
from inbol.contracts import Confidence, Features, Prediction, Question
from inbol.shards.reader import shard_names
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, records_by_key, write_each
from inbol.text.features import read_features, with_features


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `Features`. A prediction that cannot be read counts as the least sure, and is counted."""
    config: FeaturesStage = job.config
    unreadable = 0

    def build(name: str) -> Iterable[Features]:
        questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
        if "confidence" in job.inputs:
            return measured(job.inputs["confidence"], name, questions)
        said = records_by_key(job.inputs["predictions"], name, Prediction, questions)
        return [_read(said[key], config.samples) for key in questions]

    names = shard_names(job.inputs["vqa"], [config.split])
    count, total = 0, 0.0
    for name, records in write_each(job, names, build, Features):
        count += len(records)
        total += sum(record.confidence for record in records)
        if "predictions" in job.inputs:
            questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
            said = records_by_key(job.inputs["predictions"], name, Prediction, questions)
            unreadable += sum(read_features(one.text) is None for one in said.values())
    return {"questions": count, "mean_confidence": total / max(count, 1), "unreadable": unreadable}


def measured(folder: Path, name: str, questions: Mapping[str, Question]) -> list[Features]:
    """What sampling found about the questions of a shard. Raises ValueError where it stopped early."""
    found = records_by_key(folder, name, Confidence, questions)
    if early := [key for key, one in found.items() if one.entropy is None]:
        raise ValueError(f"{early[0]}: its sampling stopped early, but a prompt needs its entropy; set sampling.stop=never")
    return [
        Features(key=one.key, image_key=one.image_key, confidence=one.accuracy or 0.0, entropy=one.entropy or 0.0)
        for one in (found[key] for key in questions)
    ]


def _read(said: Prediction, samples: int) -> Features:
    confidence, entropy = read_features(said.text) or (0.0, math.log(samples))
    return Features(key=said.key, image_key=said.image_key, confidence=confidence, entropy=entropy)


def prompts(job: Job, name: str, questions: Mapping[str, Question]) -> dict[str, str]:
    """What is asked by question key: with the features of the input `features`, or where there is none the question alone."""
    if "features" not in job.inputs:
        return {key: question.text for key, question in questions.items()}
    found = records_by_key(job.inputs["features"], name, Features, questions)
    return {key: with_features(question.text, found[key]) for key, question in questions.items()}
