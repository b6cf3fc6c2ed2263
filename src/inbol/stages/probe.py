"""Stage `probe`: what confidence estimators ask the model beyond its samples, collected once for all of them.

Shard by shard; a finished file is kept. Questions beyond the image are not asked anything: their label does not depend on the model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from inbol import interrupt
from inbol.config.stages import ProbeStage
from inbol.contracts import Probed, ResponseSet
from inbol.models.entailment import Entailment
from inbol.models.load import pick_device
from inbol.probing.asks import Budget, Evidence
from inbol.probing.equivalence import entailment_groups
from inbol.probing.estimators.registry import ASKS
from inbol.shards.files import write_records
from inbol.shards.images import decode_image
from inbol.shards.reader import read_shard, shard_names
from inbol.stages.asking import Asker, Row
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder
from inbol.stages.progress import Progress
from inbol.stages.questions import questions_of, records_by_key


def run(job: Job) -> dict[str, Any]:
    """Write `Probed` records, one for every question, for this process's shards."""
    config: ProbeStage = job.config
    names = job.share(shard_names(job.inputs["vqa"], list(config.splits)))
    todo = [name for name in names if not (job.out / f"{name}.jsonl").exists()]
    asker = _asker(job, config) if todo and config.asks else None
    entails = Entailment(Path(config.entailment), pick_device()) if todo and config.entailment else None
    progress, written = Progress(job), 0
    for done, name in enumerate(names):
        progress(done, len(names), name)
        interrupt.stop_here(f"{done} of {len(names)} shards")
        out = job.out / f"{name}.jsonl"
        if name not in todo:
            written += len(out.read_text(encoding="utf-8").splitlines())
            continue
        written += write_records(out, _probe(job, config, name, asker, entails))
    progress(len(names), len(names), "")
    return {"shards": len(names), "records": written}


def _asker(job: Job, config: ProbeStage) -> Asker:
    budget = Budget(
        samples=config.samples,
        explanations=config.explanations,
        answer_tokens=config.answer_tokens,
        explanation_tokens=config.explanation_tokens,
    )
    return Asker(Decoder(job.inputs["model"] / "checkpoint"), budget, seed=config.seed)


def _probe(job: Job, config: ProbeStage, name: str, asker: Asker | None, entails: Entailment | None) -> list[Probed]:
    questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
    responses = records_by_key(job.inputs["responses"], name, ResponseSet, questions)
    probed = {key: Probed(key=key, image_key=question.image_key) for key, question in questions.items()}
    rows = []
    for sample in read_shard(job.inputs["vqa"], name):
        asked = [Evidence(q, responses[q.key], probed[q.key]) for q in sample.questions if q.answerable]
        if asked:
            rows.append(Row(decode_image(sample.image), asked))
    if asker is not None:
        for ask in config.asks:
            asker(ASKS[ask], rows, trees_per_batch=config.trees_per_batch)
    for evidence in (evidence for row in rows for evidence in row.asked):
        assert evidence.probed is not None
        groups = entailment_groups(evidence.responses.texts, evidence.question.text, entails) if entails else ()
        probed[evidence.question.key] = replace(evidence.probed, groups=groups)
    return list(probed.values())
