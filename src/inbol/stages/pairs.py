"""Stage `pairs`: refusal/answer preferences from the model's own samples, for `align-train` alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from inbol.building.pairs import build_pairs
from inbol.config.stages import PairsStage
from inbol.contracts import BoundaryLabel, ResponseSet
from inbol.shards.files import write_records
from inbol.shards.reader import shard_names
from inbol.stages.features import prompts
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, records_by_key


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `PreferencePair`; files that exist are kept.

    Returns counts and summed weights of pairs by role and orientation, and of questions by label, used or skipped.
    """
    config: PairsStage = job.config
    vqa, unsolvable = job.inputs["vqa"], job.inputs["unsolvable"]
    pairs, skipped, labels = Counter[str](), Counter[str](), Counter[str]()
    weights: dict[str, float] = {}
    for name in shard_names(vqa, ["align-train"]):
        questions = questions_of(vqa, unsolvable, name)
        of_label = records_by_key(job.inputs["boundary"], name, BoundaryLabel, questions)
        responses = records_by_key(job.inputs["responses"], name, ResponseSet, questions)
        built = {
            key: build_pairs(
                question,
                of_label[key],
                responses[key],
                form=config.pairs.form,
                tau=config.boundary.tau,
                dead_band=config.pairs.dead_band,
                reason_share=config.pairs.reason_share,
                seed=config.pairs.seed + config.seed,
                of=config.pairs.of,
                altered=config.pairs.altered,
            )
            for key, question in questions.items()
        }
        # Built anew even where the file is kept: the facts of a resumed stage cover all shards.
        path = job.out / f"{name}.jsonl"
        if not path.exists():
            shown = prompts(job, name, questions)
            write_records(path, (replace(pair, prompt=shown[key]) for key, (made, _) in built.items() for pair in made))
        for key, (made, reason) in built.items():
            label = of_label[key].label.value
            if reason:
                skipped[f"{label}/{reason}"] += 1
                continue
            labels[label] += 1
            for pair in made:
                kind = f"{pair.role}/{'answer' if pair.answer_is_chosen else 'refusal'}-chosen"
                pairs[kind] += 1
                weights[kind] = weights.get(kind, 0.0) + pair.weight
    return {
        "pairs": pairs.total(),
        "pairs_by_role": dict(sorted(pairs.items())),
        "weight_by_role": {kind: round(weight, 6) for kind, weight in sorted(weights.items())},
        "questions_by_label": dict(sorted(labels.items())),
        "skipped": dict(sorted(skipped.items())),
    }
