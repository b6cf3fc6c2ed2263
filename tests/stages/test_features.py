"""Features from samples and from predictions, and the records that are then asked with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from inbol.config.data import BoundaryConfig, PairsConfig, SftDataConfig
from inbol.config.features import FeatureDataStage, FeaturesStage
from inbol.config.stages import PairsStage, SftDataStage
from inbol.contracts import (
    Boundary,
    BoundaryLabel,
    Confidence,
    Features,
    Prediction,
    PreferencePair,
    Question,
    ResponseSet,
    SftExample,
    VqaSample,
)
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import feature_data, features, grpo, pairs, sft_data
from inbol.stages.job import Job

NAME = "align-train-000000"
CAN = Question(key="i-q0", image_key="i", text="what color?", answers=("red",), kind="color")
CANNOT = Question(key="i-u0", image_key="i", text="who drew it?", answerable=False, kind="vague", reason="nobody is shown")
SHOWN = {
    CAN.key: "what color?\n### Conf ###: 0.8\n### Entro ###: 0.6\n",
    CANNOT.key: "who drew it?\n### Conf ###: 0.0\n### Entro ###: 0.6\n",
}


def job(root: Path, stage: str, config: Any, *roles: str) -> Job:
    return Job(stage=stage, fingerprint="f", out=root / stage, inputs={role: root / role for role in roles}, config=config)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """One question of each sort. Sampled: c = .75, e = .5623 (three of four alike); beyond the image no accuracy, e = .6365."""
    sample = VqaSample(key="i", image=b"\x89PNG", image_format="png", split="align-train", source="fake", questions=(CAN,))
    write_shard(tmp_path / "vqa" / f"{NAME}.tar", [sample])
    write_records(tmp_path / "unsolvable" / f"{NAME}.jsonl", [CANNOT])
    common: dict[str, Any] = {"image_key": "i", "consistency": 0.5, "logprob": -1.0, "refused": 0.0}
    sure = [
        Confidence(key=CAN.key, accuracy=0.75, entropy=0.5623, **common),
        Confidence(key=CANNOT.key, accuracy=None, entropy=0.6365, **common),
    ]
    write_records(tmp_path / "confidence" / f"{NAME}.jsonl", sure)
    return tmp_path


def measured(world: Path) -> list[Features]:
    orders = job(world, "features", FeaturesStage(split="align-train", samples=4), "vqa", "unsolvable", "confidence")
    assert features.run(orders) == {"questions": 2, "mean_confidence": 0.375, "unreadable": 0}
    return read_records(world / "features" / f"{NAME}.jsonl", Features)


def test_measured_features_are_those_of_the_samples(world: Path) -> None:
    assert [(one.confidence, one.entropy) for one in measured(world)] == [(0.75, 0.5623), (0.0, 0.6365)]


def test_what_is_learnt_is_what_is_read(world: Path) -> None:
    """The predictor's target of the first question is read back; the other prediction has no form: confidence 0, entropy log 4."""
    feature_data.run(job(world, "feature_data", FeatureDataStage(), "vqa", "unsolvable", "confidence"))
    taught = read_records(world / "feature_data" / f"{NAME}.jsonl", SftExample)
    assert [(one.prompt, one.target) for one in taught] == [(CAN.text, "0.8 0.6"), (CANNOT.text, "0.0 0.6")]
    said = [
        Prediction(key=key, image_key="i", text=text, logprob=0.0, num_tokens=3)
        for key, text in ((CAN.key, taught[0].target), (CANNOT.key, "red"))
    ]
    write_records(world / "predictions" / f"{NAME}.jsonl", said)
    facts = features.run(job(world, "features", FeaturesStage(split="align-train", samples=4), "vqa", "unsolvable", "predictions"))
    assert facts == {"questions": 2, "mean_confidence": 0.4, "unreadable": 1}
    found = read_records(world / "features" / f"{NAME}.jsonl", Features)
    assert [(one.confidence, one.entropy) for one in found] == [(0.8, 0.6), (0.0, math.log(4))]


def test_examples_pairs_and_on_policy_questions_are_asked_with_them(world: Path) -> None:
    measured(world)
    labels = [(CAN.key, Boundary.KNOWN, 0.75), (CANNOT.key, Boundary.BEYOND_IMAGE, 0.0)]
    write_records(
        world / "boundary" / f"{NAME}.jsonl",
        [BoundaryLabel(key=key, image_key="i", label=label, confidence=c, evidence="") for key, label, c in labels],
    )
    said: dict[str, Any] = {"image_key": "i", "logprobs": (0.0,) * 4, "num_tokens": (2,) * 4}
    sets = [
        ResponseSet(key=CAN.key, texts=("red", "red", "red", "blue"), **said),
        ResponseSet(key=CANNOT.key, texts=("a", "a", "b", "b"), **said),
    ]
    write_records(world / "responses" / f"{NAME}.jsonl", sets)
    roles = ("vqa", "unsolvable", "boundary", "features")
    sft_data.run(
        job(world, "sft_data", SftDataStage(sft_data=SftDataConfig(method="threshold"), boundary=BoundaryConfig(), seed=0), *roles)
    )
    assert {one.prompt for one in read_records(world / "sft_data" / f"{NAME}.jsonl", SftExample)} == set(SHOWN.values())
    stage = PairsStage(pairs=PairsConfig(form="knowledge"), boundary=BoundaryConfig(), seed=0)
    pairs.run(job(world, "pairs", stage, *roles, "responses"))
    made = read_records(world / "pairs" / f"{NAME}.jsonl", PreferencePair)
    assert [one.prompt for one in made] == [SHOWN[CAN.key]] * 2 + [SHOWN[CANNOT.key]]
    asked = grpo.questions(job(world, "grpo", None, "vqa", "unsolvable", "features"), "all")
    assert {question.key: prompt for question, prompt in asked.items()} == SHOWN
    plain = grpo.questions(job(world, "grpo", None, "vqa", "unsolvable"), "beyond-image")
    assert plain == {CANNOT: CANNOT.text}
