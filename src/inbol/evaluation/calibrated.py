"""A checkpoint's rule for refusing, as it is saved with it, and what it does to responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from inbol.contracts import Prediction, Question, RefusalLogp, from_json
from inbol.evaluation.metrics import VALUE
from inbol.evaluation.outcomes import grade
from inbol.evaluation.risk_control import Choice, Promise, Responses
from inbol.shards.files import write_text

CALIBRATION = "calibration.json"
"""Its file, in the checkpoint folder or in the stage's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """From which score on a response is refused, and what that promises."""

    promise: Promise
    guarantee: str
    """The promise as a sentence."""
    score: str
    """`margin` or `probability`."""
    threshold: float | None
    """Responses with a score at or above it are refused; None refuses none."""
    refusals: tuple[str, ...]
    """Texts of log P(refusal)."""
    prompt: str
    """Style of prompt that it holds for."""
    split: str
    """What it was chosen on."""
    images: int
    """Images that the promise rests on."""
    questions: int
    p_value: float | None
    validation_risk: float | None
    """On all images of the split, those included that chose the candidates."""
    validation_coverage: float
    made_from: dict[str, str]
    """Fingerprints of the stage folders, by role."""
    model: dict[str, str]
    """sha256 of the parts of the checkpoint it belongs to."""


def calibration_of(
    choice: Choice,
    promise: Promise,
    *,
    score: str,
    refusals: tuple[str, ...],
    prompt: str,
    split: str,
    made_from: Mapping[str, str],
    model: Mapping[str, str],
) -> Calibration:
    """The record of a choice."""
    return Calibration(
        promise=promise,
        guarantee=guarantee(promise),
        score=score,
        threshold=None if np.isinf(choice.threshold) else choice.threshold,
        refusals=refusals,
        prompt=prompt,
        split=split,
        images=choice.images,
        questions=choice.questions,
        p_value=choice.p_value,
        validation_risk=choice.risk,
        validation_coverage=choice.coverage,
        made_from=dict(made_from),
        model=dict(model),
    )


def guarantee(promise: Promise) -> str:
    """The promise of `risk_control.choose` as a sentence."""
    what = {
        "selective": "share of wrong ones among answered questions",
        "wrong": "share of an image's questions that are answered wrongly",
        "cost": f"mean cost of a question (wrong {promise.wrong_cost:g}, refused though answerable {promise.refusal_cost:g})",
    }[promise.risk]
    if promise.in_expectation:
        how = "in expectation over validation images and the next one, exchangeable with them (conformal risk control, arXiv 2208.02814)"
    else:
        how = (
            f"for at least {1 - promise.delta:.0%} of the draws of validation images, independent and drawn as later ones "
            f"(Learn then Test, arXiv 2110.01052, {promise.p_value} p-values)"
        )
    return f"{what} <= {promise.level:g}, {how}"


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write it into `folder`, atomically."""
    write_text(folder / CALIBRATION, json.dumps(asdict(calibration), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    return folder / CALIBRATION


def read_calibration(folder: Path) -> Calibration | None:
    """The rule in `folder`; None where it has none. Raises ValueError for a file that is not one."""
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    try:
        return from_json(Calibration, path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; run make calibrate again, or delete the file") from None


def score_of(kind: str, *, logprob: float, refusal: float) -> float:
    """What is compared with the threshold, in nats; high is refused first.

    Args:
        kind: `margin` or `probability`.
        logprob: of the response.
        refusal: log P(refusal).
    """
    return refusal - logprob if kind == "margin" else -logprob


def refuses(calibration: Calibration, score: float) -> bool:
    """Whether a response with this score is on the refusing side."""
    return calibration.threshold is not None and score >= calibration.threshold


def scores(predictions: Mapping[str, Prediction], refusals: Mapping[str, RefusalLogp], kind: str) -> dict[str, float]:
    """Score by question key. Raises ValueError for a prediction without log P(refusal)."""
    if missing := sorted(predictions.keys() - refusals.keys()):
        raise ValueError(f"refusal_logps: nothing for {len(missing)} questions, first {missing[0]!r}; run the recipe again")
    return {key: score_of(kind, logprob=p.logprob, refusal=refusals[key].logprob) for key, p in predictions.items()}


def responses_of(questions: list[Question], predictions: Mapping[str, Prediction], score: Mapping[str, float]) -> Responses:
    """Columns for `risk_control`, images numbered in the order of their keys; the raw responses, whatever a rule made of them.

    Raises:
        ValueError: a question without a prediction.
    """
    if missing := [q.key for q in questions if q.key not in predictions]:
        raise ValueError(f"predictions: nothing for {len(missing)} questions, first {missing[0]!r}; run the recipe again")
    number = {key: i for i, key in enumerate(sorted({q.image_key for q in questions}))}
    return Responses(
        image=np.array([number[q.image_key] for q in questions], dtype=np.int64),
        score=np.array([score[q.key] for q in questions], dtype=np.float64),
        value=np.array([VALUE[grade(predictions[q.key], q)] for q in questions], dtype=np.int8),
        answerable=np.array([q.answerable for q in questions], dtype=bool),
    )
