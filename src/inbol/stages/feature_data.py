"""Stage `feature_data`: what the model that predicts confidence and entropy is to say to each question of `align-train`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inbol.contracts import SftExample
from inbol.shards.reader import shard_names
from inbol.stages.features import measured
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, write_each
from inbol.text.features import say_features


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `SftExample`: the question alone, and both numbers as the response."""

    def build(name: str) -> Iterable[SftExample]:
        questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
        for one in measured(job.inputs["confidence"], name, questions):
            yield SftExample(
                key=f"{one.key}-a",
                image_key=one.image_key,
                prompt=questions[one.key].text,
                target=say_features(one),
                weight=1.0,
                role="answer",
            )

    names = shard_names(job.inputs["vqa"], ["align-train"])
    return {"examples": sum(len(records) for _, records in write_each(job, names, build, SftExample))}
