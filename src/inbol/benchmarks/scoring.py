"""Responses to a benchmark become grades, numbers and their bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inbol.benchmarks.base import Benchmark, Grade
from inbol.benchmarks.dataset import BenchmarkRecord
from inbol.evaluation.bootstrap import resample
from inbol.evaluation.metrics import Floats
from inbol.evaluation.scores import interval_method, number

REFUSAL = "I cannot tell from the image."
"""Stands for a response that a threshold on the sequence probability turned into a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedItem:
    """One response with its grade: one line of `grades.jsonl`."""

    key: str
    image_key: str
    response: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchmarkScores:
    """One system on one benchmark."""

    graded: tuple[GradedItem, ...]
    scores: dict[str, Any]
    """Content of scores.json: every measure with its 95 % interval (low, high) and n."""
    samples: Floats
    """[resamples, measures] bootstrapped values, nan where a denominator was empty. The draws depend on the seed and the number of images
    alone, so the difference of two systems' columns is the paired bootstrap."""


def score_benchmark(
    benchmark: Benchmark,
    records: Sequence[BenchmarkRecord],
    responses: Mapping[str, str],
    *,
    resamples: int,
    seed: int,
    findings: Mapping[str, Mapping[str, Any]] | None = None,
) -> BenchmarkScores:
    """Grade and measure; whole pictures are resampled with all that is asked about them. `findings` of a judge, by key, are added to the
    grades, over what the rules found under the same name.

    Raises:
        ValueError: an item without response, or a response to what was not asked.
    """
    if odd := sorted(responses.keys() ^ {record.key for record in records}):
        raise ValueError(f"{benchmark.name}: {len(odd)} items and responses do not belong together, first {odd[0]!r}; run predict again")
    items = [record.item() for record in records]
    grades = {item.key: benchmark.grade(item, responses[item.key]) for item in items}
    if findings:
        grades = {key: Grade(key=key, values={**one.values, **findings.get(key, {})}) for key, one in grades.items()}
    measures = benchmark.measures(items, grades)
    places = {key: place for place, key in enumerate(dict.fromkeys(record.image_key for record in records))}
    image = np.array([places[record.image_key] for record in records], dtype=np.int64)
    samples = resample(list(measures.values()), image, num_images=len(places), resamples=resamples, seed=seed)
    numbers = {name: number(one.value, samples[:, column], one.n) for column, (name, one) in enumerate(measures.items())}
    scores = {
        "benchmark": benchmark.name,
        "n": len(items),
        "images": len(places),
        "interval": interval_method(resamples=resamples, num_images=len(places), seeds=1),
        "notes": list(getattr(benchmark, "notes", ())),  # a benchmark need not have any
        "order": list(numbers),
        "measures": numbers,
    }
    graded = tuple(GradedItem(key=r.key, image_key=r.image_key, response=responses[r.key], values=grades[r.key].values) for r in records)
    return BenchmarkScores(graded, scores, samples)
