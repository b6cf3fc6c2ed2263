"""The record stages in a row, from shards and responses to examples and pairs, on two shards of one image each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inbol.config.data import BoundaryConfig, PairsConfig, SftDataConfig, UnsolvableConfig
from inbol.config.stages import BoundaryStage, ConfidenceStage, PairsStage, SftDataStage, UnsolvableStage
from inbol.contracts import BoundaryLabel, Confidence, PreferencePair, Question, ResponseSet, SftExample, VqaSample
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import boundary, confidence, pairs, sft_data, unsolvable
from inbol.stages.job import Job
from inbol.stages.questions import questions_of, records_by_key

PNG = b"\x89PNG\r\n\x1a\n"
SPLITS = ("pretrain", "align-train", "align-val")


def job(tmp_path: Path, stage: str, config: Any, *roles: str) -> Job:
    return Job(stage=stage, fingerprint="f", out=tmp_path / stage, inputs={role: tmp_path / role for role in roles}, config=config)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """`vqa` with one red circle per split, two questions each; `unsolvable`; `responses` to align-train and align-val.

    K = 4. First question: red x4 (c = 1). Second, shape: circle x1, triangle x3 (c = 1/4). Beyond the image: "red" x3, one refusal.
    """
    for split in SPLITS:
        key = f"{split}-i"
        questions = (
            Question(key=f"{key}-q00", image_key=key, text="what color is the shape?", answers=("red",), kind="color"),
            Question(key=f"{key}-q01", image_key=key, text="what shape is present?", answers=("circle",), kind="shape"),
        )
        meta = {"shape": "circle", "color": "red"}
        sample = VqaSample(key=key, image=PNG, image_format="png", split=split, source="easy-vqa", questions=questions, meta=meta)
        write_shard(tmp_path / "vqa" / f"{split}-000000.tar", [sample])
    unsolvable.run(job(tmp_path, "unsolvable", UnsolvableStage(unsolvable=UnsolvableConfig()), "vqa"))
    for split in SPLITS[1:]:
        name = f"{split}-000000"
        said = {
            "what color is the shape?": ("red",) * 4,
            "what shape is present?": ("circle", "triangle", "triangle", "triangle"),
        }
        beyond = ("red", "red", "red", "I do not know.")
        sets = [
            ResponseSet(
                key=question.key,
                image_key=question.image_key,
                texts=said[question.text] if question.answerable else beyond,
                logprobs=(-1.0,) * 4,
                num_tokens=(2,) * 4,
            )
            for question in questions_of(tmp_path / "vqa", tmp_path / "unsolvable", name).values()
        ]
        write_records(tmp_path / "responses" / f"{name}.jsonl", sets)
    return tmp_path


def test_unsolvable_leaves_pretrain_out_and_counts(folders: Path) -> None:
    """Two splits, one image each, 2 + 2 questions: 8."""
    facts = unsolvable.run(job(folders, "unsolvable", UnsolvableStage(unsolvable=UnsolvableConfig()), "vqa"))
    assert sorted(p.name for p in (folders / "unsolvable").glob("*.jsonl")) == ["align-train-000000.jsonl", "align-val-000000.jsonl"]
    assert facts["questions"] == 8
    assert facts["kinds"]["align-train/false-premise"] == 2
    assert facts["wordings"]["align-train/seen"] == 4


def run_to_labels(folders: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    first = confidence.run(job(folders, "confidence", ConfidenceStage(), "vqa", "unsolvable", "responses"))
    second = boundary.run(job(folders, "boundary", BoundaryStage(boundary=BoundaryConfig(tau=0.5)), "vqa", "unsolvable", "confidence"))
    return first, second


def test_confidence_and_boundary(folders: Path) -> None:
    """Per split: accuracies 1 and 1/4, mean .625; refused 0, 0 and four times 1/4: mean 1/6. Labels: one known, one not, four beyond."""
    facts, labels = run_to_labels(folders)
    assert (facts["questions"], facts["answerable"], facts["mean_accuracy"]) == (12, 4, 0.625)
    assert facts["mean_refused"] == pytest.approx(1 / 6)
    assert facts["accuracy_histogram"] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert labels["labels"] == {
        f"{split}/{label}": n for split in ("align-train", "align-val") for label, n in (("BEYOND_IMAGE", 4), ("KNOWN", 1), ("UNKNOWN", 1))
    }
    assert len(read_records(folders / "confidence" / "align-val-000000.jsonl", Confidence)) == 6
    assert len(read_records(folders / "boundary" / "align-val-000000.jsonl", BoundaryLabel)) == 6


def test_sft_data(folders: Path) -> None:
    """Soft: answer weights 1 + 1/4, refusal weights 3/4 + 4 x 1; the first question has no refusal, so 2 + 5 examples."""
    run_to_labels(folders)
    config = SftDataStage(sft_data=SftDataConfig(method="soft"), boundary=BoundaryConfig(), seed=0)
    facts = sft_data.run(job(folders, "sft_data", config, "vqa", "unsolvable", "boundary"))
    assert facts == {
        "examples": 7,
        "examples_by_role": {"answer": 2, "refusal": 5},
        "weight_by_role": {"answer": 1.25, "refusal": 4.75},
        "questions_by_label": {"BEYOND_IMAGE": 4, "KNOWN": 1, "UNKNOWN": 1},
        "skipped_by_label": {},
    }
    assert [p.name for p in (folders / "sft_data").iterdir()] == ["align-train-000000.jsonl"]
    assert len(read_records(folders / "sft_data" / "align-train-000000.jsonl", SftExample)) == 7


def test_plain_sft_data_skips_what_is_beyond_the_image(folders: Path) -> None:
    run_to_labels(folders)
    config = SftDataStage(sft_data=SftDataConfig(method="plain"), boundary=BoundaryConfig(), seed=0)
    facts = sft_data.run(job(folders, "sft_data", config, "vqa", "unsolvable", "boundary"))
    assert facts["weight_by_role"] == {"answer": 2.0}
    assert facts["skipped_by_label"] == {"BEYOND_IMAGE": 4}


@pytest.mark.parametrize(
    ("form", "by_role", "weights"),
    [
        (
            "single",
            {"answerable/answer-chosen": 1, "answerable/refusal-chosen": 1, "beyond-image/refusal-chosen": 4},
            {"answerable/answer-chosen": 1.0, "answerable/refusal-chosen": 1.0, "beyond-image/refusal-chosen": 4.0},
        ),
        (
            "duplicated",
            {"answerable/answer-chosen": 2, "answerable/refusal-chosen": 1, "beyond-image/refusal-chosen": 4},
            {"answerable/answer-chosen": 1.25, "answerable/refusal-chosen": 0.75, "beyond-image/refusal-chosen": 3.0},
        ),
    ],
)
def test_pairs(folders: Path, form: str, by_role: dict[str, int], weights: dict[str, float]) -> None:
    """Duplicated: red 4/4; circle 1/4, triangle 3/4; four times "red" 3/4."""
    run_to_labels(folders)
    config = PairsStage(pairs=PairsConfig(form=form), boundary=BoundaryConfig(), seed=0)
    orders = job(folders, "pairs", config, "vqa", "unsolvable", "responses", "boundary")
    facts = pairs.run(orders)
    assert facts["pairs_by_role"] == by_role
    assert facts["weight_by_role"] == weights
    assert facts["questions_by_label"] == {"BEYOND_IMAGE": 4, "KNOWN": 1, "UNKNOWN": 1}
    assert facts["skipped"] == {}
    written = read_records(folders / "pairs" / "align-train-000000.jsonl", PreferencePair)
    assert len({pair.key for pair in written}) == facts["pairs"] == sum(by_role.values())
    assert pairs.run(orders) == facts


def test_a_finished_file_is_kept(folders: Path) -> None:
    path = folders / "unsolvable" / "align-val-000000.jsonl"
    path.write_text("")
    facts = unsolvable.run(job(folders, "unsolvable", UnsolvableStage(unsolvable=UnsolvableConfig()), "vqa"))
    assert path.read_text() == ""
    assert facts["questions"] == 4


def test_records_must_cover_the_questions(folders: Path) -> None:
    name = "align-train-000000"
    questions = questions_of(folders / "vqa", folders / "unsolvable", name)
    assert len(questions) == 6
    responses = read_records(folders / "responses" / f"{name}.jsonl", ResponseSet)
    write_records(folders / "responses" / f"{name}.jsonl", responses[1:])
    with pytest.raises(ValueError, match=r"5 records of 5 questions, not one for each of the shard's 6 .*align-train-i-q00"):
        records_by_key(folders / "responses", name, ResponseSet, questions)


def test_own_samples_as_targets(folders: Path) -> None:
    """Answerable questions alone: red 4/4, and circle 1/4 beside a refusal of 3/4."""
    run_to_labels(folders)
    data = SftDataConfig(method="soft", answer="samples", of="answerable")
    config = SftDataStage(sft_data=data, boundary=BoundaryConfig(), seed=0)
    facts = sft_data.run(job(folders, "sft_data", config, "vqa", "unsolvable", "boundary", "responses"))
    assert facts["weight_by_role"] == {"answer": 1.25, "refusal": 0.75}
    assert facts["questions_by_label"] == {"KNOWN": 1, "UNKNOWN": 1} and facts["skipped_by_label"] == {"BEYOND_IMAGE": 4}


def test_misleading_copies_need_a_wrong_answer(folders: Path) -> None:
    """One colour and one shape are all that is asked about, so there is nothing else to hint at."""
    run_to_labels(folders)
    config = SftDataStage(sft_data=SftDataConfig(method="plain", mislead=True), boundary=BoundaryConfig(), seed=0)
    facts = sft_data.run(job(folders, "sft_data", config, "vqa", "unsolvable", "boundary"))
    assert facts["examples_by_role"] == {"answer": 2} and facts["misleading"] == 0


def test_pairs_of_some_questions_below_an_altered_image(folders: Path) -> None:
    run_to_labels(folders)
    config = PairsStage(pairs=PairsConfig(of="beyond-image", altered="blank"), boundary=BoundaryConfig(), seed=0)
    facts = pairs.run(job(folders, "pairs", config, "vqa", "unsolvable", "responses", "boundary"))
    assert facts["pairs_by_role"] == {"beyond-image/refusal-chosen": 4}
    assert facts["skipped"] == {"KNOWN/left-out": 1, "UNKNOWN/left-out": 1}
    assert {pair.altered for pair in read_records(folders / "pairs" / "align-train-000000.jsonl", PreferencePair)} == {"blank"}
