"""Stage `sample`: K independent responses of a model to every question, with one prefill per image and question."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inbol.config.stages import SampleStage
from inbol.contracts import Question, ResponseSet
from inbol.models.generate import uniforms
from inbol.models.tree import Tree
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder, answer_shards


def run(job: Job) -> dict[str, Any]:
    """Write `ResponseSet` records for this process's shards."""
    config: SampleStage = job.config
    sampling = config.sampling
    draws = sampling.k + sampling.fresh
    seed = 1_000_003 * config.seed + sampling.seed

    def answer(decoder: Decoder, trees: list[Tree], asked: list[list[Question]]) -> Iterator[ResponseSet]:
        random = [uniforms(seed, question.key, draws, sampling.max_new_tokens) for questions in asked for question in questions]
        decoded = decoder(
            trees, max_new_tokens=sampling.max_new_tokens, random=random, temperature=sampling.temperature, top_p=sampling.top_p
        )
        for questions, branches in zip(asked, decoded, strict=True):
            for question, drawn in zip(questions, branches, strict=True):
                texts = [decoder.text(ids) for ids in drawn.ids]
                yield ResponseSet(
                    key=question.key,
                    image_key=question.image_key,
                    texts=tuple(texts[: sampling.k]),
                    logprobs=tuple(drawn.logprobs[: sampling.k]),
                    num_tokens=tuple(len(ids) for ids in drawn.ids[: sampling.k]),
                    fresh_texts=tuple(texts[sampling.k :]),
                )

    return answer_shards(job, config.splits, sampling.trees_per_batch, lambda text: text, answer)
