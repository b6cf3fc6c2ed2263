"""How far two graders agree: raw agreement and Cohen's kappa, with intervals over whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inbol.evaluation.bootstrap import interval, weight_blocks
from inbol.evaluation.metrics import Floats


def agreement(one: Sequence[bool], other: Sequence[bool], images: Sequence[str], *, resamples: int, seed: int) -> dict[str, Any]:
    """Raw agreement p_o and kappa = (p_o - p_e) / (1 - p_e) (Cohen 1960), each with a 95 % bootstrap interval, n and the 2x2 counts.

    Args:
        one: [N] finding of the first grader; `other` of the second, about the same items.
        images: [N] image of each item; whole images are resampled.

    Returns:
        Kappa is None where both graders always say the same one thing (p_e = 1), and all is None without items.
    """
    a, b = np.array(one, dtype=np.int64), np.array(other, dtype=np.int64)
    empty = {"value": None, "low": None, "high": None}
    cells = np.bincount(2 * a + b, minlength=4).astype(np.float64) if len(a) else np.zeros(4)
    counts = {"neither": int(cells[0]), "other alone": int(cells[1]), "one alone": int(cells[2]), "both": int(cells[3])}
    if not len(a):
        return {"n": 0, "counts": counts, "agreement": empty, "kappa": empty}
    names = {name: place for place, name in enumerate(sorted(set(images)))}
    by_image = np.zeros((len(names), 4))
    np.add.at(by_image, (np.array([names[image] for image in images]), 2 * a + b), 1.0)
    drawn = np.concatenate([weights @ by_image for weights in weight_blocks(len(names), resamples=resamples, seed=seed)])
    raw, kappa = (_number(function(cells[None])[0], function(drawn)) for function in (raw_agreement, cohen_kappa))
    return {"n": len(a), "counts": counts, "agreement": raw, "kappa": kappa}


def raw_agreement(cells: Floats) -> Floats:
    """[B] share of items on which both say the same, of [B, 4] counts (neither, other alone, one alone, both)."""
    return np.asarray((cells[:, 0] + cells[:, 3]) / cells.sum(axis=1))


def cohen_kappa(cells: Floats) -> Floats:
    """[B] Cohen's kappa of [B, 4] counts; nan where chance alone agrees always."""
    total = cells.sum(axis=1)
    one, other = (cells[:, 2] + cells[:, 3]) / total, (cells[:, 1] + cells[:, 3]) / total
    chance = one * other + (1 - one) * (1 - other)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1 - 1e-12, (raw_agreement(cells) - chance) / (1 - chance), np.nan)


def _number(value: float, samples: Floats) -> dict[str, float | None]:
    bounds = None if np.isnan(value) else interval(samples)
    low, high = bounds or (None, None)
    return {"value": None if np.isnan(value) else float(value), "low": low, "high": high}
