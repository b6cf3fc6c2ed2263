"""Stage `sft_data`: targets and weights from labels, for `align-train` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from inbol.building.examples import build_examples
from inbol.config.stages import SftDataStage
from inbol.contracts import BoundaryLabel, SftExample
from inbol.shards.reader import shard_names
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, records_by_key, write_each


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `SftExample`. Returns counts of examples and summed weights by role, and of questions by label and fate."""
    config: SftDataStage = job.config
    vqa, unsolvable, boundary = job.inputs["vqa"], job.inputs["unsolvable"], job.inputs["boundary"]
    names = shard_names(vqa, ["align-train"])

    def build(name: str) -> Iterable[SftExample]:
        questions = questions_of(vqa, unsolvable, name)
        labels = records_by_key(boundary, name, BoundaryLabel, questions)
        for key, question in questions.items():
            yield from build_examples(
                question,
                labels[key],
                method=config.sft_data.method,
                tau=config.boundary.tau,
                dead_band=config.sft_data.dead_band,
                reason_share=config.sft_data.reason_share,
                seed=config.sft_data.seed + config.seed,
            )

    roles, labels, without = Counter[str](), Counter[str](), Counter[str]()
    weights: dict[str, float] = {}
    for name, records in write_each(job, names, build, SftExample):
        used = {record.key.rpartition("-")[0] for record in records}
        for record in records:
            roles[record.role] += 1
            weights[record.role] = weights.get(record.role, 0.0) + record.weight
        for label in records_by_key(boundary, name, BoundaryLabel, questions_of(vqa, unsolvable, name)).values():
            (labels if label.key in used else without)[label.label.value] += 1
    return {
        "examples": roles.total(),
        "examples_by_role": dict(sorted(roles.items())),
        "weight_by_role": {role: round(weight, 6) for role, weight in sorted(weights.items())},
        "questions_by_label": dict(sorted(labels.items())),
        "skipped_by_label": dict(sorted(without.items())),
    }
