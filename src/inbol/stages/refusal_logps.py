"""Stage `refusal_logps`: log P(refusal) of everything that is asked in a split, teacher-forced over a fixed set of refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inbol.config.stages import RefusalLogpsStage
from inbol.contracts import Question, RefusalLogp
from inbol.models.tree import Tree
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder, answer_shards
from inbol.text.prompts import render_question
from inbol.training.binding import model_binding, write_binding


def run(job: Job) -> dict[str, Any]:
    """Write `RefusalLogp` records for this process's shards, and `binding.json`: what of the checkpoint they follow from."""
    config: RefusalLogpsStage = job.config
    if job.rank == 0:
        write_binding(job.out, model_binding(job.inputs["model"] / "checkpoint"))

    def answer(decoder: Decoder, trees: list[Tree], asked: list[list[Question]]) -> Iterator[RefusalLogp]:
        for questions, logps in zip(asked, decoder.logps(trees, config.refusals), strict=True):
            for question, logp in zip(questions, logps, strict=True):
                yield RefusalLogp(key=question.key, image_key=question.image_key, logprob=logp)

    def render(question: Question) -> str:
        return render_question(question.text, config.prompt)

    return answer_shards(job, [config.split], config.trees_per_batch, render, answer)
