"""Stage `predict`: one greedy response to everything that is asked in a split. The only part of an evaluation that needs a model.

A checkpoint with a `calibration.json` refuses what that says: the response is recorded as withheld.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inbol.config.stages import PredictStage
from inbol.contracts import Features, Prediction, Question
from inbol.evaluation.calibrated import CALIBRATION, Calibration, read_calibration, refuses, score_of
from inbol.models.tree import Tree
from inbol.stages.backends import OutsideDecoder
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder, answer_shards
from inbol.stages.score import by_key
from inbol.text.features import with_features
from inbol.text.prompts import render_question
from inbol.training.binding import model_binding


def run(job: Job) -> dict[str, Any]:
    """Write `Prediction` records for this process's shards."""
    config: PredictStage = job.config
    rule = own_rule(job.inputs["model"] / "checkpoint", config.prompt, check=job.rank == 0)
    if rule and config.predict.backend != "tree":
        raise ValueError(f"predict.backend: {config.predict.backend!r} cannot apply the checkpoint's {CALIBRATION}; take backend=tree")

    def answer(decoder: Decoder | OutsideDecoder, trees: list[Tree], asked: list[list[Question]]) -> Iterator[Prediction]:
        if isinstance(decoder, OutsideDecoder):
            for question, one in decoder.draw(trees, asked, draws=1, max_new_tokens=config.predict.max_new_tokens):
                yield Prediction(
                    key=question.key,
                    image_key=question.image_key,
                    text=one.texts[0],
                    logprob=one.logprobs[0],
                    num_tokens=one.num_tokens[0],
                )
            return
        decoded = decoder(trees, max_new_tokens=config.predict.max_new_tokens)
        refusals = decoder.logps(trees, rule.refusals) if rule else [[0.0] * len(questions) for questions in asked]
        for questions, branches, logps in zip(asked, decoded, refusals, strict=True):
            for question, drawn, refusal in zip(questions, branches, logps, strict=True):
                yield Prediction(
                    key=question.key,
                    image_key=question.image_key,
                    text=decoder.text(drawn.ids[0]),
                    logprob=drawn.logprobs[0],
                    num_tokens=len(drawn.ids[0]),
                    withheld=rule is not None and refuses(rule, score_of(rule.score, logprob=drawn.logprobs[0], refusal=refusal)),
                )

    predict = config.predict
    engine: dict[str, Any] = {"backend": predict.backend, "server": predict.server}
    told = by_key(job.inputs["features"], config.split, Features) if "features" in job.inputs else None

    def render(question: Question) -> str:
        text = render_question(question.text, config.prompt)
        return text if told is None else with_features(text, told[question.key])

    return answer_shards(job, [config.split], predict.trees_per_batch, render, answer, **engine)


def own_rule(checkpoint: Path, prompt: str, *, check: bool) -> Calibration | None:
    """The rule saved with a checkpoint; None where it has none, or one for another style of prompt.

    Args:
        check: hash the checkpoint, to see that it is the one that was calibrated; one process is enough.

    Raises:
        ValueError: the rule belongs to other weights, texts or settings.
    """
    rule = read_calibration(checkpoint)
    if rule is None or rule.prompt != prompt:
        return None
    if check:
        now = model_binding(checkpoint)
        if differ := [name for name in dict.fromkeys([*rule.model, *now]) if rule.model.get(name) != now.get(name)]:
            raise ValueError(
                f"{checkpoint / CALIBRATION} was made for another {', '.join(differ)} than the checkpoint has now: what it promises does "
                f"not hold; run make calibrate again, or delete the file"
            )
    return rule
