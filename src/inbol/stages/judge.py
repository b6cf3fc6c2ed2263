"""Stage `judge`: a server's verdicts on one system's responses, and how far they agree with the rules.

Every answer is kept in a folder by the content of its question, so that a stage that was killed, or one with a larger budget, asks only
what was never answered. What gets no answer, or none that can be read, is recorded as unjudged with the reason.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from inbol import interrupt
from inbol.benchmarks.dataset import BenchmarkRecord
from inbol.benchmarks.registry import open_benchmark
from inbol.benchmarks.scoring import REFUSAL
from inbol.config.serving import JudgeStage, ServerConfig
from inbol.contracts import UNSHOWN, Outcome, Prediction, Question, VqaSample
from inbol.endpoint.cache import AnswerCache
from inbol.endpoint.client import Client, Server, key_from
from inbol.endpoint.limits import Budget
from inbol.evaluation.outcomes import outcome
from inbol.judging.agreement import agreement
from inbol.judging.judge import Judge, Verdict
from inbol.judging.prompts import SHOWN, Material
from inbol.shards.files import read_records, write_records, write_text
from inbol.shards.reader import read_shard, shard_names
from inbol.stages.benchmark_data import ITEMS, level_of
from inbol.stages.job import Job
from inbol.stages.progress import Progress
from inbol.stages.score import by_key
from inbol.stages.verdicts import SUMMARY

CACHE = "judge_cache"


def run(job: Job) -> dict[str, Any]:
    """Write `Verdict` records shard by shard, and `judge.json`: counts, cost, agreement with the rules.

    Raises:
        ServerMisconfigured: wrong key, address or model; a server that merely fails leaves responses unjudged instead.
    """
    config: JudgeStage = job.config
    asked = _Asked(job)
    spent, cached = asyncio.run(_judge(job, asked))
    verdicts = [verdict for name in asked.names for verdict in read_records(job.out / f"{name}.jsonl", Verdict)]
    summary = {
        "base_url": config.judge.base_url,
        "model": config.judge.model,
        "judged": asked.dimensions,
        "dimensions": counts(verdicts),
        "agreement": _agreement(verdicts, asked, config),
        "spent": spent,
    }
    write_text(job.out / SUMMARY, json.dumps(summary, indent=1, sort_keys=True, allow_nan=False) + "\n")
    unjudged = sum(verdict.value is None for verdict in verdicts)
    return {"verdicts": len(verdicts), "unjudged": unjudged, "cached": cached, **spent}


def counts(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Any]]:
    """By dimension: how many were asked and judged, the mean verdict (a share, or a score), and how many are unjudged for which reason."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.dimension, []).append(verdict)
    out = {}
    for dimension, group in groups.items():
        values = [verdict.value for verdict in group if verdict.value is not None]
        reasons: dict[str, int] = {}
        for verdict in group:
            if verdict.value is None:
                reasons[verdict.unjudged] = reasons.get(verdict.unjudged, 0) + 1
        mean = sum(values) / len(values) if values else None
        out[dimension] = {"asked": len(group), "judged": len(values), "mean": mean, "unjudged": reasons}
    return out


def server_of(config: ServerConfig, *, model: str = "") -> Server:
    """Where to ask, with the key from the environment. Raises ServerMisconfigured without it."""
    names = {field.name for field in dataclasses.fields(Server)} & {field.name for field in dataclasses.fields(config)}
    values = {name: getattr(config, name) for name in names} | {"key": key_from(config.key_env)}
    return Server(**(values | ({"model": model} if model else {})))


def data_url(sample: VqaSample) -> str:
    """The encoded picture as it lies in the shard."""
    kind = {"jpg": "jpeg"}.get(sample.image_format, sample.image_format)
    return f"data:image/{kind};base64,{base64.b64encode(sample.image).decode()}"


class _Asked:
    """What there is to judge: a recipe's split, or a benchmark, whose rules then are the benchmark's own."""

    def __init__(self, job: Job) -> None:
        self.job = job
        config: JudgeStage = job.config
        self.data = job.inputs["data"] if config.benchmark else job.inputs["vqa"]
        self.names = shard_names(self.data, [config.split])
        self.predictions = by_key(job.inputs["predictions"], config.split, Prediction)
        self.level = level_of(job)
        self.benchmark = open_benchmark(config.benchmark, seed=config.seed) if config.benchmark else None
        records = read_records(self.data / ITEMS, BenchmarkRecord) if config.benchmark else []
        self.items = {record.key: record.item() for record in records}
        due = tuple(getattr(self.benchmark, "judged", ())) if self.benchmark else ("refusal", "correctness", "rationality")
        self.dimensions = [name for name in ("refusal", "correctness", "rationality", "helpfulness") if name in due]
        self.dimensions = [name for name in self.dimensions if name in config.judge.dimensions]
        self.rules: dict[tuple[str, str], bool] = {}
        """What the rules find, by dimension and key, of what was asked."""

    def materials(self, name: str) -> list[tuple[Question, Material]]:
        """All responses of one shard."""
        config: JudgeStage = self.job.config
        found = []
        beyond = {} if self.benchmark else _by_image(self.job.inputs["unsolvable"] / f"{name}.jsonl")
        shown = config.judge.pictures and any(dimension in SHOWN for dimension in self.dimensions)
        for sample in read_shard(self.data, name):
            images = (data_url(sample),) if shown and not sample.meta.get(UNSHOWN) else ()
            for question in (*sample.questions, *beyond.get(sample.key, ())):
                prediction = self.predictions[question.key]
                response = REFUSAL if prediction.withheld or math.exp(prediction.logprob) < self.level else prediction.text
                text, reason = question.text, question.reason
                if self.benchmark:
                    item = self.items[question.key]
                    text, reason = str(item.gold.get("question", item.prompt)), str(item.gold.get("reason", ""))
                    self.rules["refusal", question.key] = bool(self.benchmark.grade(item, response).values.get("refused"))
                else:
                    by_rules = outcome(prediction, question)
                    self.rules["refusal", question.key] = by_rules == Outcome.REFUSED
                    self.rules["correctness", question.key] = by_rules == Outcome.CORRECT
                material = Material(
                    key=question.key,
                    image_key=question.image_key,
                    question=text,
                    response=response,
                    answers=question.answers if question.answerable else (),
                    reason=reason or "",
                    images=images,
                )
                found.append((question, material))
        return found

    def due(self, dimension: str, question: Question, refused: int | None) -> bool:
        """Whether this is judged of a response of which the judge found this about refusing; None where it found nothing."""
        if dimension == "correctness":
            return question.answerable and (refused == 0 or "refusal" not in self.dimensions)
        if dimension == "rationality":
            return refused == 1 and not question.answerable
        return True


async def _judge(job: Job, asked: _Asked) -> tuple[dict[str, float | int], int]:
    """Judge what is not yet judged; returns what was spent, and the number of answers that the cache gave."""
    config: JudgeStage = job.config
    judge_config = config.judge
    prices = {name: getattr(judge_config, name) for name in ("max_requests", "max_cost", "input_price", "output_price")}
    budget = Budget(job.out / "requests.jsonl", **prices)
    cache = AnswerCache(Path(judge_config.cache) if judge_config.cache else job.out.parent.parent / CACHE)
    progress, total, done = Progress(job), len(asked.predictions) * len(asked.dimensions), 0

    def report() -> None:
        nonlocal done
        done += 1
        progress(min(done, total), total, "")
        interrupt.stop_here(f"{done} verdicts")

    try:
        async with Client(server_of(judge_config), cache, budget) as client:
            judge = Judge(client, max_tokens=judge_config.max_tokens, rereads=judge_config.rereads, report=report)
            for name in asked.names:
                path, materials = job.out / f"{name}.jsonl", asked.materials(name)
                if path.exists():
                    done += len(materials) * len(asked.dimensions)
                    continue
                write_records(path, await _shard(judge, asked, materials, report))
            return budget.summary(), client.cached
    finally:
        budget.close()


async def _shard(judge: Judge, asked: _Asked, materials: list[tuple[Question, Material]], report: Callable[[], None]) -> list[Verdict]:
    """Refusals first: who refuses is asked for reasons, who answers for correctness."""
    found: list[Verdict] = []
    refused: dict[str, int | None] = {}
    for dimension in asked.dimensions:
        part = [material for question, material in materials if asked.due(dimension, question, refused.get(material.key))]
        verdicts = await judge.verdicts(dimension, part)
        if dimension == "refusal":
            refused = {verdict.key: verdict.value for verdict in verdicts}
        found += verdicts
    return found


def _by_image(path: Path) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    for question in read_records(path, Question):
        found.setdefault(question.image_key, []).append(question)
    return found


def _agreement(verdicts: Iterable[Verdict], asked: _Asked, config: JudgeStage) -> dict[str, Any]:
    """By dimension that the rules know too, of what is judged: `one` are the rules, `other` is the judge."""
    judged = [(v, asked.rules[v.dimension, v.key]) for v in verdicts if v.value is not None and (v.dimension, v.key) in asked.rules]
    return {
        dimension: agreement(
            [rule for verdict, rule in judged if verdict.dimension == dimension],
            [verdict.value == 1 for verdict, _ in judged if verdict.dimension == dimension],
            [verdict.image_key for verdict, _ in judged if verdict.dimension == dimension],
            resamples=config.bootstrap,
            seed=config.seed,
        )
        for dimension in ("refusal", "correctness")
        if dimension in asked.dimensions
    }
