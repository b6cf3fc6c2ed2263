"""Stage `benchmark_score`: one system's responses to a benchmark become grades and numbers; no model is needed."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np

from inbol.benchmarks.dataset import SPLIT, BenchmarkRecord
from inbol.benchmarks.registry import open_benchmark
from inbol.benchmarks.scoring import REFUSAL, score_benchmark
from inbol.config.benchmarks import BenchmarkScoreStage
from inbol.contracts import Prediction
from inbol.shards.files import read_records, write_bytes, write_records, write_text
from inbol.stages.benchmark_data import ABOUT, ITEMS, level_of
from inbol.stages.job import Job
from inbol.stages.score import by_key
from inbol.stages.verdicts import benchmark_findings, judge_notes


def run(job: Job) -> dict[str, Any]:
    """Write `grades.jsonl`, `scores.json` and `samples.npy` (the bootstrap, which the report pairs).

    With the input `threshold`, responses below the level that that score chose on `align-val` count as refusals.
    """
    config: BenchmarkScoreStage = job.config
    data = job.inputs["data"]
    records = read_records(data / ITEMS, BenchmarkRecord)
    level = level_of(job)
    predictions = by_key(job.inputs["predictions"], SPLIT, Prediction)
    responses = {key: REFUSAL if one.withheld or math.exp(one.logprob) < level else one.text for key, one in predictions.items()}
    benchmark = open_benchmark(config.benchmark, seed=config.seed)
    findings, judge = benchmark_findings(job.inputs["verdicts"], decides=config.judge_decides) if "verdicts" in job.inputs else ({}, {})
    result = score_benchmark(benchmark, records, responses, resamples=config.score.bootstrap, seed=config.score.seed, findings=findings)
    about = json.loads((data / ABOUT).read_text(encoding="utf-8"))
    scores = result.scores | {"made": about["made"], "notes": [*result.scores["notes"], *about["notes"]]}
    if judge:
        scores["judge"], scores["notes"] = judge, [*scores["notes"], *judge_notes(judge)]
    if level:
        scores["threshold"] = level
    buffer = io.BytesIO()
    np.save(buffer, result.samples, allow_pickle=False)
    write_records(job.out / "grades.jsonl", result.graded)
    write_bytes(job.out / "samples.npy", buffer.getvalue())
    write_text(job.out / "scores.json", json.dumps(scores, indent=1, sort_keys=True, allow_nan=False) + "\n")
    first = scores["order"][0]
    return {"items": scores["n"], "images": scores["images"], first: scores["measures"][first]["value"]}
