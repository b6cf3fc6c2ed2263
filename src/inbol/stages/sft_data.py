"""Stage `sft_data`: targets and weights from labels, for `align-train` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from inbol.building.examples import build_examples
from inbol.building.misleading import answer_pools, misled
from inbol.config.stages import SftDataStage
from inbol.contracts import BoundaryLabel, ResponseSet, SftExample
from inbol.shards.reader import shard_names
from inbol.stages.features import prompts
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, records_by_key, write_each


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `SftExample`. Returns counts of examples and summed weights by role, of questions by label and
    fate, and of misleading copies where they are asked for."""
    config: SftDataStage = job.config
    data = config.sft_data
    vqa, unsolvable, boundary = job.inputs["vqa"], job.inputs["unsolvable"], job.inputs["boundary"]
    names = shard_names(vqa, ["align-train"])

    def build(name: str) -> Iterable[SftExample]:
        questions = questions_of(vqa, unsolvable, name)
        labels = records_by_key(boundary, name, BoundaryLabel, questions)
        drawn = job.inputs.get("responses")
        responses = records_by_key(drawn, name, ResponseSet, questions) if drawn is not None else {}
        pools = answer_pools(questions.values()) if data.mislead else {}
        seed = data.seed + config.seed
        shown = prompts(job, name, questions)
        for key, question in questions.items():
            examples = build_examples(
                question,
                labels[key],
                method=data.method,
                tau=config.boundary.tau,
                dead_band=data.dead_band,
                reason_share=data.reason_share,
                seed=seed,
                of=data.of,
                answer=data.answer,
                levels=data.levels,
                responses=responses.get(key),
            )
            yield from (replace(example, prompt=shown[key]) for example in examples) if "features" in job.inputs else examples
            for example in examples if data.mislead else ():
                yield from misled(example, question, pools.get(question.kind, ()), seed=seed)

    roles, labels, without = Counter[str](), Counter[str](), Counter[str]()
    weights: dict[str, float] = {}
    misleading = 0
    for name, records in write_each(job, names, build, SftExample):
        used = {record.key.rpartition("-")[0] for record in records}
        misleading += sum(record.key.endswith(("-ae", "-ai")) for record in records)
        for record in records:
            roles[record.role] += 1
            weights[record.role] = weights.get(record.role, 0.0) + record.weight
        for label in records_by_key(boundary, name, BoundaryLabel, questions_of(vqa, unsolvable, name)).values():
            (labels if label.key in used else without)[label.label.value] += 1
    return {
        **({"misleading": misleading} if data.mislead else {}),
        "examples": roles.total(),
        "examples_by_role": dict(sorted(roles.items())),
        "weight_by_role": {role: round(weight, 6) for role, weight in sorted(weights.items())},
        "questions_by_label": dict(sorted(labels.items())),
        "skipped_by_label": dict(sorted(without.items())),
    }
