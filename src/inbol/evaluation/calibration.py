"""Quality of a confidence: ECE, Brier, AUROC, average precision, and the risk-coverage curve. Ties never depend on the order of the file.

Labels may be shares in [0, 1] (accuracy over fresh samples: an item counts as that much right and the rest wrong). A metric takes item
weights [B, N] and returns [B] values, nan where undefined: `evaluate` gives the number (all weights 1), `resample_metric` the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inbol.evaluation.metrics import Floats

Metric = Callable[[Floats, Floats, Floats], Floats]
"""(scores [N], labels [N], weights [B, N]) -> [B]."""


def ece(scores: Floats, labels: Floats, weights: Floats, *, bins: int = 15) -> Floats:
    """Expected calibration error over equal-width bins of scores in [0, 1]: sum over bins of (n_m / n) |acc_m - conf_m|."""
    which = np.minimum((scores * bins).astype(np.int64), bins - 1)
    member = (which[:, None] == np.arange(bins)).astype(np.float64)
    gap = np.abs(weights @ (member * (labels - scores)[:, None])).sum(axis=1)
    return _divide(gap, weights.sum(axis=1))


def brier(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """Mean of (s - y)^2 over 0/1 labels; a share y is that mean over the samples it summarises."""
    squares = labels * (1 - scores) ** 2 + (1 - labels) * scores**2
    return _divide(weights @ squares, weights.sum(axis=1))


def auroc(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """P(score of a right one > score of a wrong one) + half of P(=)."""
    groups = _Groups.by_score(scores)
    right = groups.sums(weights * labels)
    wrong = groups.sums(weights * (1 - labels))
    lower = wrong.sum(axis=1, keepdims=True) - np.cumsum(wrong, axis=1)  # groups come in falling order of score
    wins = (right * (lower + 0.5 * wrong)).sum(axis=1)
    return _divide(wins, right.sum(axis=1) * wrong.sum(axis=1))


def average_precision(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """Area under the precision-recall curve as steps: sum over the distinct scores, highest first, of (recall gained) x precision there.

    The right ones are the positives; for the wrong ones give 1 - labels and falling scores. nan without a right one.
    """
    groups = _Groups.by_score(scores)
    right = groups.sums(weights * labels)
    size = np.cumsum(groups.sums(weights), axis=1)
    precision = np.divide(np.cumsum(right, axis=1), size, out=np.zeros_like(size), where=size > 0)
    return _divide((right * precision).sum(axis=1), right.sum(axis=1))


def aurc(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """Area under the risk-coverage curve: mean over k of the risk of the k highest scores, averaged over the orders within each tie.

    In a tie of m items with e errors after a items with E errors, the expected risk at a + j is (E + e j / m) / (a + j); summed over j with
    harmonic numbers. Labels are 0 or 1, weights whole numbers.
    """
    groups = _Groups.by_score(scores)
    size = groups.sums(weights)
    errors = groups.sums(weights * (1 - labels))
    total = size.sum(axis=1)
    after = np.cumsum(size, axis=1)
    before = after - size
    harmonic = _harmonic(int(total.max(initial=0)))
    span = harmonic[after.round().astype(np.int64)] - harmonic[before.round().astype(np.int64)]
    slope = np.divide(errors, size, out=np.zeros_like(errors), where=size > 0)
    area = (np.cumsum(errors, axis=1) - errors) * span + slope * (size - before * span)
    return _divide(area.sum(axis=1), total)


def e_aurc(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """AURC minus the oracle's, which puts every right answer before every wrong one."""
    total, right = weights.sum(axis=1), weights @ labels
    harmonic = _harmonic(int(total.max(initial=0)))
    span = harmonic[total.round().astype(np.int64)] - harmonic[right.round().astype(np.int64)]
    return aurc(scores, labels, weights) - _divide(total - right - right * span, total)


def evaluate(metric: Metric, scores: Floats, labels: Floats) -> float | None:
    """The metric with weight 1 everywhere; None where it is undefined (no items, or one class only)."""
    if not len(scores):
        return None
    value = float(metric(scores, labels, np.ones((1, len(scores))))[0])
    return None if np.isnan(value) else value


def resample_metric(metric: Metric, scores: Floats, labels: Floats, image: NDArray[np.int64], blocks: Iterator[Floats]) -> Floats:
    """[B] values of the metric over blocks of image weights (`bootstrap.weight_blocks`)."""
    return np.concatenate([metric(scores, labels, weights[:, image]) for weights in blocks])


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """The curve at the end of every tie group, highest scores first."""

    coverage: Floats
    """[G] share of items answered, rising to 1."""
    risk: Floats
    """[G] share of the answered that is wrong."""
    threshold: Floats
    """[G] the lowest score that is still answered."""


def risk_coverage(scores: Floats, labels: Floats) -> RiskCoverage:
    """The risk-coverage curve of `scores` [N] against labels 0/1 [N]. Raises ValueError without items."""
    if not len(scores):
        raise ValueError("risk-coverage: no items; give at least one score")
    groups = _Groups.by_score(scores)
    size = np.cumsum(groups.sums(np.ones((1, len(scores))))[0])
    errors = np.cumsum(groups.sums((1 - labels)[None].astype(np.float64))[0])
    return RiskCoverage(size / len(scores), errors / size, scores[groups.order][groups.starts])


@dataclass(frozen=True, slots=True)
class _Groups:
    """Items in falling order of score, cut where the score changes."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def by_score(cls, scores: Floats) -> _Groups:
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        return cls(order, starts)

    def sums(self, per_item: Floats) -> Floats:
        """[B, N] -> [B, G]."""
        return np.asarray(np.add.reduceat(per_item[:, self.order], self.starts, axis=1))


def _harmonic(n: int) -> Floats:
    """[n + 1]: H(0) = 0, H(1) = 1, H(2) = 1.5, ..."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
