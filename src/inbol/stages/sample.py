"""Stage `sample`: K independent responses of a model to every question, with one prefill per image and question.

With `sampling.stop=label`, fewer: all samples of a question are begun together, and when those that have ended fix its label, the others
are dropped (`probing/stopping.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inbol.config.stages import SampleStage
from inbol.contracts import Question, ResponseSet
from inbol.models.generate import uniforms
from inbol.models.tree import Tree
from inbol.probing.stopping import fixed_label
from inbol.stages.backends import OutsideDecoder
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder, answer_shards


def run(job: Job) -> dict[str, Any]:
    """Write `ResponseSet` records for this process's shards."""
    config: SampleStage = job.config
    sampling, boundary = config.sampling, config.boundary
    draws = sampling.k + sampling.fresh
    seed = 1_000_003 * config.seed + sampling.seed

    def is_fixed(question: Question, texts: Sequence[str]) -> bool:
        if boundary is None:
            return False
        return fixed_label(texts, question, k=sampling.k, tau=boundary.tau, mistaken=boundary.mistaken) is not None

    def record(question: Question, texts: Sequence[str] = (), logprobs: Sequence[float] = (), lengths: Sequence[int] = ()) -> ResponseSet:
        return ResponseSet(
            key=question.key,
            image_key=question.image_key,
            texts=tuple(texts[: sampling.k]),
            logprobs=tuple(logprobs[: sampling.k]),
            num_tokens=tuple(lengths[: sampling.k]),
            fresh_texts=tuple(texts[sampling.k :]),
            intended=sampling.k if len(texts) < sampling.k else 0,
        )

    def answer(decoder: Decoder | OutsideDecoder, trees: list[Tree], asked: list[list[Question]]) -> Iterator[ResponseSet]:
        if isinstance(decoder, OutsideDecoder):
            settings: dict[str, Any] = {
                "max_new_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
            }
            for question, one in decoder.draw(trees, asked, draws=draws, seed=seed, **settings):
                yield record(question, one.texts, one.logprobs, one.num_tokens)
            return
        flat = [question for questions in asked for question in questions]

        def enough(branch: int, ids: list[list[int]]) -> bool:
            return is_fixed(flat[branch], [decoder.text(response) for response in ids])

        decoded = decoder(
            trees,
            max_new_tokens=sampling.max_new_tokens,
            random=[uniforms(seed, question.key, draws, sampling.max_new_tokens) for question in flat],
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            enough=enough if boundary else None,
        )
        for question, drawn in zip(flat, (branch for branches in decoded for branch in branches), strict=True):
            yield record(question, [decoder.text(ids) for ids in drawn.ids], drawn.logprobs, [len(ids) for ids in drawn.ids])

    def unasked(question: Question) -> ResponseSet | None:
        return record(question) if is_fixed(question, ()) else None

    engine: dict[str, Any] = {"backend": sampling.backend, "server": sampling.server}
    return answer_shards(job, config.splits, sampling.trees_per_batch, lambda question: question.text, answer, unasked, **engine)
