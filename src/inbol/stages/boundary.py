"""Stage `boundary`: known, unknown or beyond the image, with the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from inbol.config.data import BoundaryConfig
from inbol.contracts import BoundaryLabel, Confidence
from inbol.probing.boundary import draw_boundary
from inbol.shards.reader import split_of
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, record_names, records_by_key, write_each


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `BoundaryLabel` for every shard of the `confidence` input. Returns counts by split and label."""
    config: BoundaryConfig = job.config.boundary

    def build(name: str) -> Iterable[BoundaryLabel]:
        questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
        confidences = records_by_key(job.inputs["confidence"], name, Confidence, questions)
        return (draw_boundary(question, confidences[key], tau=config.tau, mistaken=config.mistaken) for key, question in questions.items())

    labels = Counter[str]()
    for name, records in write_each(job, record_names(job.inputs["confidence"]), build, BoundaryLabel):
        labels.update(f"{split_of(name)}/{record.label}" for record in records)
    return {"questions": labels.total(), "labels": dict(sorted(labels.items()))}
