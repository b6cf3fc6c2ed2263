"""The table that compares confidence estimators: how well each foretells the share of fresh samples that is right.

Fresh samples entered no estimator, so that the accuracy of the samples is not graded by itself. All rows are about the same questions:
answerable, in seen wordings, of one split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inbol.contracts import Estimate, Outcome, ResponseSet
from inbol.evaluation import calibration
from inbol.evaluation.bootstrap import interval, over_seeds, weight_blocks
from inbol.evaluation.metrics import Floats
from inbol.evaluation.scores import interval_method
from inbol.probing.confidence import grade_all, share
from inbol.probing.estimators.registry import ESTIMATORS
from inbol.reporting.tables import Cell, Column, Table
from inbol.shards.files import read_records
from inbol.shards.reader import read_shard, shard_names

METRICS: dict[str, calibration.Metric] = {
    "AUROC": calibration.auroc,
    "AP": calibration.average_precision,
    "AURC": calibration.aurc,
    "ECE": calibration.ece,
    "Brier": calibration.brier,
}
OF_ORDER = ("AUROC", "AP", "AURC")
"""What a score that is no probability has too."""
COMPARED = "AUROC"


@dataclass(frozen=True, slots=True)
class Scored:
    """The questions of one split under one base: N questions about I images."""

    keys: tuple[str, ...]
    image: NDArray[np.int64]
    """[N] index of the image, in [0, I)."""
    num_images: int
    right: Floats
    """[N] share of the fresh samples that is right."""
    scores: Mapping[str, Floats]
    """[N] by estimator."""


def load_scored(vqa: Path, responses: Path, estimates: Path, *, split: str, estimators: Sequence[str]) -> Scored:
    """The scores and the fresh samples of the answerable questions of a split in seen wordings.

    Raises:
        ValueError: no such questions, no fresh samples, or a question without samples or scores.
    """
    keys, images, right = [], [], []
    scores: dict[str, list[float]] = {name: [] for name in estimators}
    for name in shard_names(vqa, [split]):
        drawn = {record.key: record for record in read_records(responses / f"{name}.jsonl", ResponseSet)}
        scored = {record.key: record for record in read_records(estimates / f"{name}.jsonl", Estimate)}
        for question in (question for sample in read_shard(vqa, name) for question in sample.questions):
            if not question.answerable or question.wording != "seen":
                continue
            if question.key not in drawn or question.key not in scored:
                raise ValueError(f"{question.key}: no samples or no scores in {responses} and {estimates}; were all made from {vqa}?")
            if not drawn[question.key].fresh_texts:
                raise ValueError(f"{question.key}: no fresh samples, which grade the estimators; sample this split with sampling.fresh > 0")
            keys.append(question.key)
            images.append(question.image_key)
            right.append(share(grade_all(drawn[question.key].fresh_texts, question), Outcome.CORRECT))
            for estimator in estimators:
                scores[estimator].append(scored[question.key].scores[estimator])
    if not keys:
        raise ValueError(f"{vqa}: no answerable question in a seen wording in split {split!r} to compare estimators on")
    distinct, index = np.unique(np.array(images), return_inverse=True)
    return Scored(tuple(keys), index, len(distinct), np.array(right), {name: np.array(column) for name, column in scores.items()})


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric over the seeds."""

    value: float | None
    samples: Floats
    """[B] bootstrap of the value."""


def quality(scored: Sequence[Scored], estimator: str, *, resamples: int, seed: int) -> dict[str, Quality]:
    """Every metric that the estimator has: the mean over the seeds' values, with the bootstrap over images and seeds.

    Raises:
        ValueError: the seeds are not about the same questions.
    """
    if any(one.keys != scored[0].keys for one in scored):
        raise ValueError("estimators: the seeds are not about the same questions; use one source for all")
    out = {}
    for name, metric in METRICS.items():
        if name not in OF_ORDER and not ESTIMATORS[estimator].probability:
            continue
        values = [calibration.evaluate(metric, one.scores[estimator], one.right) for one in scored]
        samples = np.stack([
            calibration.resample_metric(
                metric, one.scores[estimator], one.right, one.image, weight_blocks(one.num_images, resamples=resamples, seed=seed)
            )
            for one in scored
        ])  # fmt: skip
        there = [value for value in values if value is not None]
        out[name] = Quality(sum(there) / len(there) if len(there) == len(values) else None, over_seeds(samples, seed=seed))
    return out


def estimator_table(scored: Sequence[Scored], estimators: Sequence[str], *, resamples: int, seed: int, split: str) -> Table:
    """One row an estimator, compared with the first."""
    measured = {name: quality(scored, name, resamples=resamples, seed=seed) for name in estimators}
    first, n = estimators[0], len(scored[0].keys)
    rows = []
    for name in estimators:
        cells = [_cell(measured[name].get(metric), n) for metric in METRICS]
        rows.append((ESTIMATORS[name].title, (*cells, _cell(_difference(measured[name], measured[first]), n) if name != first else Cell())))
    num_images = scored[0].num_images
    notes = (
        f"Split {split}: {n:,} answerable questions in seen wordings about {num_images:,} images. Graded by the share of fresh samples "
        "that is right, which entered no estimator. AUROC, AP (average precision): higher is better; AURC (ties averaged), ECE (15 "
        "equal-width bins) and Brier: lower is. n/a: the score is no probability.",
        interval_method(resamples=resamples, num_images=num_images, seeds=len(scored)) + ".",
        "accuracy of samples is the only row that knows the gold answers; P(IK) was trained with those of align-train. The last "
        f"column: paired difference of {COMPARED} from the first row; * interval clear of 0.",
    )
    columns = (*(Column(metric) for metric in METRICS), Column(f"{COMPARED} - first", "bounds"))
    return Table("estimators", "Which confidence foretells that the base is right?", columns, tuple(rows), corner="estimator", notes=notes)


def _difference(one: Mapping[str, Quality], other: Mapping[str, Quality]) -> Quality:
    a, b = one[COMPARED], other[COMPARED]
    return Quality(None if a.value is None or b.value is None else a.value - b.value, a.samples - b.samples)


def _cell(measured: Quality | None, n: int) -> Cell:
    bounds = interval(measured.samples) if measured is not None and measured.value is not None else None
    low, high = bounds or (None, None)
    return Cell(measured.value if measured is not None else None, low, high, n)
