"""One system on one split as a dictionary of numbers with intervals: the content of scores.json."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from inbol.contracts import Graded
from inbol.evaluation import calibration
from inbol.evaluation.bootstrap import interval, resample, weight_blocks
from inbol.evaluation.items import Items
from inbol.evaluation.metrics import Floats
from inbol.evaluation.suite import suite

CONVENTIONS = {
    "T0": "+1 correct, 0 refused, -1 wrong; answerable questions in seen wordings unless the slice says otherwise",
    "T1": "as T0, but a refusal of a question beyond the image is worth +1; on such questions alone T1 = 2 RefR - 1",
    "T1 50/50": "(T0 of answerable questions in seen wordings + T1 of all questions beyond the image, held-out kind included) / 2",
    "answerable": "questions the image answers, in wordings that occur in training; other wordings are the slice answerable/unseen",
    "gain": "shares of the base's wrong answers; gain = (T0 - T0 of base) / Wrong of base",
    "null": "an empty denominator, never 0",
}

Number = dict[str, float | int | None]


def interval_method(*, resamples: int, num_images: int, seeds: int) -> str:
    """One sentence on how the intervals were made."""
    over = f"{num_images} images, each with all its questions"
    if seeds > 1:
        over = f"{seeds} seeds and {over} (seeds share the images drawn; their deviations stretched by sqrt(S/(S-1)))"
    noise = "item and seed noise" if seeds > 1 else "item noise, not seed noise"
    return f"95 % percentile bootstrap, {resamples} resamples of {over}; holds {noise}"


def score(
    graded: list[Graded],
    *,
    tau: float,
    held_out: Collection[str],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Every measure of the suite: value, 95 % interval (low, high) and n."""
    items = Items.of(graded)
    measures = suite(items, tau=tau, held_out=held_out)
    flat = [(name, metric, measure) for name, group in measures.items() for metric, measure in group.items()]
    samples = resample([f[2] for f in flat], items.image, num_images=len(items.images), resamples=resamples, seed=seed)
    slices: dict[str, dict[str, Number]] = {name: {} for name in measures}
    for column, (name, metric, measure) in enumerate(flat):
        slices[name][metric] = number(measure.value, samples[:, column], measure.n)
    return {
        "conventions": CONVENTIONS,
        "interval": interval_method(resamples=resamples, num_images=len(items.images), seeds=1),
        "tau": tau,
        "n": len(items.keys),
        "images": len(items.images),
        "held_out": sorted(held_out),
        "slices": slices,
        "templates": _templates(graded),
    }


@dataclass(frozen=True, slots=True)
class Resampled:
    """A value with its bootstrap."""

    value: float | None
    samples: Floats
    """[B]."""
    n: int


def confidence_quality(items: Items, *, resamples: int, seed: int) -> dict[str, dict[str, Resampled]]:
    """How well c, and the base's own sequence probability, foretell that the base is right; `items` are the base's own outcomes.

    `fresh` grades c against samples that never entered it; `greedy` grades both against the base's greedy response, where it answers.
    All on answerable questions in seen wordings; estimators without items (no fresh samples drawn) are left out.
    """
    main = items.answerable & items.seen
    fresh = main & ~np.isnan(items.fresh)
    greedy = main & (items.value != 0)
    right = (items.value == 1).astype(np.float64)
    graded = {"AUROC": calibration.auroc, "ECE": calibration.ece, "Brier": calibration.brier}
    ranked = {**graded, "AURC": calibration.aurc, "E-AURC": calibration.e_aurc}
    plans = {
        "c, fresh samples": (items.confidence, items.fresh, fresh, graded),
        "c, greedy": (items.confidence, right, greedy, ranked),
        "sequence probability, greedy": (np.exp(items.logprob), right, greedy, ranked),
    }
    out: dict[str, dict[str, Resampled]] = {}
    for name, (scores, labels, where, metrics) in plans.items():
        if not where.any():
            continue
        out[name] = {}
        for metric, function in metrics.items():
            blocks = weight_blocks(len(items.images), resamples=resamples, seed=seed)
            samples = calibration.resample_metric(function, scores[where], labels[where], items.image[where], blocks)
            out[name][metric] = Resampled(calibration.evaluate(function, scores[where], labels[where]), samples, int(where.sum()))
    return out


def number(value: float | None, samples: Floats, n: int) -> Number:
    """A value with its interval; all None where the value is."""
    bounds = interval(samples) if value is not None else None
    low, high = bounds if bounds else (None, None)
    return {"value": value, "low": low, "high": high, "n": n}


def _templates(graded: list[Graded]) -> dict[str, dict[str, Any]]:
    """Refusal rate by template of the questions beyond the image: the unit of generalisation there."""
    groups: dict[str, list[Graded]] = {}
    for row in graded:
        if not row.answerable and row.template:
            groups.setdefault(row.template, []).append(row)
    return {
        name: {
            "kind": rows[0].kind,
            "wording": rows[0].wording,
            "RefR": sum(r.outcome == "REFUSED" for r in rows) / len(rows),
            "n": len(rows),
        }
        for name, rows in sorted(groups.items())
    }
