"""Stage `calibrate`: the threshold from which on one system refuses, so that a risk stays below a level; no model is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from inbol.config.risk import RiskConfig
from inbol.config.stages import CalibrateStage
from inbol.contracts import Prediction, RefusalLogp
from inbol.evaluation.calibrated import calibration_of, guarantee, responses_of, scores, write_calibration
from inbol.evaluation.risk_control import Promise, Responses, choose, smallest_level
from inbol.stages.job import Job
from inbol.stages.score import by_key, read_questions

BINDING = "binding.json"


def run(job: Job) -> dict[str, Any]:
    """Write `calibration.json`. Raises ValueError where the level cannot be promised, with the smallest one that can."""
    config: CalibrateStage = job.config
    responses, promise = graded_responses(job.inputs, config.split, config.risk.score), promise_of(config.risk)
    choice = choose(responses, promise)
    if choice is None:
        least = smallest_level(responses, promise)
        lowest = f"the smallest that can be is {least:.3f} (risk.level={least:.3f})" if least else "no other level can be, either"
        raise ValueError(
            f"risk.level: {config.risk.level:g} cannot be promised on {responses.images} images of {config.split} at any threshold of the "
            f"{config.risk.score}, refusing nearly everything included; {lowest}. More validation images promise more, and so does a "
            f"larger risk.delta. Wanted was: {guarantee(promise)}"
        )
    calibration = calibration_of(
        choice,
        promise,
        score=config.risk.score,
        refusals=config.refusals,
        prompt=config.prompt,
        split=config.split,
        made_from={role: folder.name for role, folder in sorted(job.inputs.items())},
        model=json.loads((job.inputs["refusal_logps"] / BINDING).read_text(encoding="utf-8")),
    )
    write_calibration(job.out, calibration)
    return {
        "level": config.risk.level,
        "threshold": calibration.threshold,
        "images": calibration.images,
        "questions": calibration.questions,
        "validation_risk": calibration.validation_risk,
        "validation_coverage": round(calibration.validation_coverage, 6),
    }


def promise_of(risk: RiskConfig) -> Promise:
    """`RiskConfig` as plain arguments."""
    return Promise(**{field.name: getattr(risk, field.name) for field in fields(Promise)})


def graded_responses(inputs: Mapping[str, Path], split: str, score: str) -> Responses:
    """The columns of one split, from the folders `vqa`, `unsolvable`, `predictions` and `refusal_logps`."""
    questions, _ = read_questions(inputs, split)
    predictions = by_key(inputs["predictions"], split, Prediction)
    return responses_of(questions, predictions, scores(predictions, by_key(inputs["refusal_logps"], split, RefusalLogp), score))
