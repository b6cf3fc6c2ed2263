"""Stage `unsolvable`: questions beyond the image, for every shard but those of `pretrain`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from inbol.building.unsolvable import make_unsolvable
from inbol.config.data import UnsolvableConfig
from inbol.contracts import SPLITS, Question
from inbol.shards.files import read_records, write_records
from inbol.shards.reader import read_shard, shard_names, split_of
from inbol.stages.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `Question` into `job.out`; files that exist are kept. Returns counts by split, kind and wording."""
    config: UnsolvableConfig = job.config.unsolvable
    vqa = job.inputs["vqa"]
    names = shard_names(vqa, SPLITS[1:])
    for name in names:
        path = job.out / f"{name}.jsonl"
        if not path.exists():
            write_records(
                path,
                (
                    question
                    for sample in read_shard(vqa, name)
                    for question in make_unsolvable(
                        sample,
                        split=split_of(name),
                        false_premises=config.false_premises_per_image,
                        others=config.others_per_image,
                        held_out=config.held_out,
                        seed=config.seed,
                    )
                ),
            )
    kinds, wordings = Counter[str](), Counter[str]()
    for name in names:
        for question in read_records(job.out / f"{name}.jsonl", Question):
            kinds[f"{split_of(name)}/{question.kind}"] += 1
            wordings[f"{split_of(name)}/{question.wording}"] += 1
    return {"questions": kinds.total(), "kinds": dict(sorted(kinds.items())), "wordings": dict(sorted(wordings.items()))}
