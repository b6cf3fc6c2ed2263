"""Image-clustered bootstrap intervals: whole images are resampled with all their questions, since questions about one image fail together.

A `Measure` is made of ratios of sums, so a resample only reweights the per-image sums: one matrix product for all measures and resamples.
The draws depend on (seed, number of images) alone, so two systems graded on the same items see the same resamples, and the difference of
their columns is the paired bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from inbol.evaluation.metrics import Floats, Measure, Ratio

BLOCK = 100  # resamples held at once: 100 x 40,000 images are 32 MB


def weight_blocks(num_images: int, *, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks [b, num_images] that add up to `resamples` rows: how often each image is drawn in each resample (rows sum to num_images)."""
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        rng = np.random.default_rng([seed, start])
        drawn = rng.integers(num_images, size=(rows, num_images)) + np.arange(rows)[:, None] * num_images
        yield np.bincount(drawn.ravel(), minlength=rows * num_images).reshape(rows, num_images).astype(np.float64)


def resample(measures: Sequence[Measure], image: NDArray[np.int64], *, num_images: int, resamples: int, seed: int) -> Floats:
    """[resamples, len(measures)] values of the measures; nan where a resample empties a denominator.

    Args:
        image: [N] index of each item's image, in [0, num_images).
    """
    tops = [np.bincount(image, weights=r.top, minlength=num_images) for m in measures for r in m.ratios]
    bottoms = [np.bincount(image, weights=r.bottom, minlength=num_images) for m in measures for r in m.ratios]
    if not tops:
        return np.zeros((resamples, 0))
    sums = np.stack(tops + bottoms, axis=1)
    owner = np.array([i for i, m in enumerate(measures) for _ in m.ratios])
    factor = np.array([r.factor for m in measures for r in m.ratios])
    constant = np.array([m.constant for m in measures])
    forms = [(place, m.form) for place, m in enumerate(measures) if m.form is not None]
    out = np.empty((resamples, len(measures)))
    done = 0
    for weights in weight_blocks(num_images, resamples=resamples, seed=seed):
        product = weights @ sums
        top, bottom = product[:, : len(tops)], product[:, len(tops) :]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = factor * np.where(bottom > 0, top / bottom, np.nan)
        block = np.tile(constant, (len(weights), 1))
        for term, measure in enumerate(owner):
            if measures[measure].form is None:
                block[:, measure] += terms[:, term]
        for place, form in forms:
            block[:, place] += form(*terms[:, owner == place].T)
        out[done : done + len(weights)] = block
        done += len(weights)
    return out


def over_seeds(samples: Floats, *, seed: int) -> Floats:
    """The hierarchical bootstrap of a mean over training seeds: seeds are resampled with replacement, all with the same images.

    Resampling S seeds shows only (S-1)/S of their variance, so each draw's deviation from the mean over all seeds is stretched by
    sqrt(S/(S-1)); the interval then holds item and seed noise, also for the usual three seeds. One seed comes back as it is.

    Args:
        samples: [S, B, ...] values by seed and image resample; nan entries are left out of a draw's mean.

    Returns:
        [B, ...] values of the mean over seeds.
    """
    num_seeds, resamples = samples.shape[:2]
    if num_seeds == 1:
        return samples[0]
    rng = np.random.default_rng([seed, num_seeds])
    counts = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=resamples).T.astype(np.float64)
    counts = counts.reshape(num_seeds, resamples, *([1] * (samples.ndim - 2)))
    there = ~np.isnan(samples)
    filled = np.where(there, samples, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = filled.sum(axis=0) / there.sum(axis=0)
        drawn = (counts * filled).sum(axis=0) / (counts * there).sum(axis=0)
    return np.asarray(centre + np.sqrt(num_seeds / (num_seeds - 1)) * (drawn - centre))


def interval(samples: Floats, *, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval of [B] resampled values, nan left out; None where nothing is left."""
    clean = samples[~np.isnan(samples)]
    if not len(clean):
        return None
    low, high = np.quantile(clean, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    x: Floats, image: NDArray[np.int64], *, num_images: int, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the mean of per-item values `x` [N]; for a paired difference, give the per-item differences."""
    measure = Measure((Ratio(x.astype(np.float64), np.ones(len(x))),), n=len(x))
    return interval(resample([measure], image, num_images=num_images, resamples=resamples, seed=seed)[:, 0])
