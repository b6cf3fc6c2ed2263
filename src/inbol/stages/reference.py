"""Stage `reference`: log-probabilities of every pair under the frozen SFT checkpoint, computed once and keyed by pair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from inbol import interrupt
from inbol.config.stages import ReferenceStage
from inbol.contracts import PreferencePair, ReferenceLogps
from inbol.models.load import load_model, load_processor, pick_device
from inbol.models.tree import TreeCollator, response_logps
from inbol.shards.files import read_records, write_records
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.training.binding import binding, write_binding
from inbol.training.images import Images
from inbol.training.objectives import PairTrees


@torch.inference_mode()
def run(job: Job) -> dict[str, Any]:
    """Write `ReferenceLogps` records for this process's shards; existing files are kept."""
    config: ReferenceStage = job.config
    names = job.share(sorted(path.stem for path in job.inputs["pairs"].glob("*-*.jsonl")))
    checkpoint = job.inputs["model"] / "checkpoint"
    if job.rank == 0:
        write_binding(job.out, binding(checkpoint, job.inputs["pairs"]))
    device = pick_device()
    model = load_model(checkpoint).eval().to(device)
    collator, load_image = TreeCollator(load_processor(checkpoint)), Images(job.inputs["vqa"])
    progress, written = Progress(job), 0
    for done, name in enumerate(names):
        progress(done, len(names), name)
        out = job.out / f"{name}.jsonl"
        if out.exists():
            written += sum(1 for _ in out.open())
            continue
        trees = PairTrees(read_records(job.inputs["pairs"] / f"{name}.jsonl", PreferencePair), load_image, collator)
        records = []
        for start in range(0, len(trees.groups), config.trees_per_batch):
            interrupt.stop_here(f"{done} of {len(names)} shards")
            batch, pairs, chosen, rejected = trees.collate(range(start, min(start + config.trees_per_batch, len(trees.groups))))
            logps, _ = response_logps(model, batch.to(device, model.dtype))
            for pair, won, lost in zip(pairs, logps[chosen].tolist(), logps[rejected].tolist(), strict=True):
                records.append(ReferenceLogps(key=pair.key, chosen=won, rejected=lost))
            if trees.altered:  # the same responses again, below the altered images
                half = batch.num_responses // 2
                below = zip(logps[chosen + half].tolist(), logps[rejected + half].tolist(), strict=True)
                records[-len(pairs) :] = [
                    replace(record, altered_chosen=won, altered_rejected=lost)
                    for record, (won, lost) in zip(records[-len(pairs) :], below, strict=True)
                ]
        written += write_records(out, records)
    progress(len(names), len(names), "")
    return {"shards": len(names), "pairs": written}
