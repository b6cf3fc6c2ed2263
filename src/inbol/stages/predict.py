"""Stage `predict`: one greedy response to everything that is asked in a split. The only part of an evaluation that needs a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inbol.config.stages import PredictStage
from inbol.contracts import Prediction, Question
from inbol.models.tree import Tree
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder, answer_shards
from inbol.text.prompts import render_question


def run(job: Job) -> dict[str, Any]:
    """Write `Prediction` records for this process's shards."""
    config: PredictStage = job.config

    def answer(decoder: Decoder, trees: list[Tree], asked: list[list[Question]]) -> Iterator[Prediction]:
        decoded = decoder(trees, max_new_tokens=config.predict.max_new_tokens)
        for questions, branches in zip(asked, decoded, strict=True):
            for question, (drawn) in zip(questions, branches, strict=True):
                yield Prediction(
                    key=question.key,
                    image_key=question.image_key,
                    text=decoder.text(drawn.ids[0]),
                    logprob=drawn.logprobs[0],
                    num_tokens=len(drawn.ids[0]),
                )

    return answer_shards(job, [config.split], config.predict.trees_per_batch, lambda text: render_question(text, config.prompt), answer)
