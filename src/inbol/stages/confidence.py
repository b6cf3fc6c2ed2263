"""Stage `confidence`: one number per estimator for every question that was sampled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inbol.contracts import Confidence, ResponseSet
from inbol.probing.confidence import estimate
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, record_names, records_by_key, write_each


def run(job: Job) -> dict[str, Any]:
    """Write `<shard>.jsonl` of `Confidence` for every shard of the `responses` input.

    Returns means and a histogram of the accuracy; where sampling stopped early, bounds of the mean and no histogram.
    """

    def build(name: str) -> Iterable[Confidence]:
        questions = questions_of(job.inputs["vqa"], job.inputs["unsolvable"], name)
        responses = records_by_key(job.inputs["responses"], name, ResponseSet, questions)
        return (estimate(responses[key], question) for key, question in questions.items())

    accuracies: list[float] = []
    refused: list[float] = []
    bounds: list[tuple[float, ...]] = []
    questions = 0
    for _, records in write_each(job, record_names(job.inputs["responses"]), build, Confidence):
        questions += len(records)
        accuracies += [record.accuracy for record in records if record.accuracy is not None]
        refused += [record.refused for record in records if record.refused is not None]
        bounds += [record.accuracy_bounds for record in records if record.accuracy_bounds]
    facts = {"questions": questions, "answerable": len(accuracies) + len(bounds)}
    if len(refused) < questions:  # the questions that were sampled to the end are the hard ones: their means would mislead
        between = [_mean([*accuracies, *(ends[side] for ends in bounds)]) for side in (0, 1)]
        return {**facts, "stopped_early": questions - len(refused), "mean_accuracy_between": between}
    histogram = [0] * 10
    for accuracy in accuracies:
        histogram[min(9, int(accuracy * 10 + 1e-9))] += 1
    return {**facts, "mean_accuracy": _mean(accuracies), "mean_refused": _mean(refused), "accuracy_histogram": histogram}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
