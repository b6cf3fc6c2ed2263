"""VQA v2: the soft accuracy by hand, the two files, and pictures by their number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.base import BenchmarkDataMissing
from inbol.benchmarks.vqa import Vqa, soft_accuracy

BENCHMARK = Vqa()


def folder(path: Path, answers: dict[int, list[str]]) -> Path:
    """Question 70 is about image 7 and so on."""
    (path / "images").mkdir(exist_ok=True)
    for number in {question // 10 for question in answers}:
        write_png(path / "images" / f"COCO_val2014_{number:012d}.jpg")
    questions = [{"question_id": q, "image_id": q // 10, "question": f"question {q}?"} for q in answers]
    annotations: list[dict[str, Any]] = [
        {"question_id": q, "image_id": q // 10, "answer_type": "other" if q % 2 else "number", "answers": [{"answer": a} for a in given]}
        for q, given in reversed(answers.items())
    ]
    (path / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"info": {}, "questions": questions}))
    (path / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": annotations}))
    return path


@pytest.mark.parametrize(("agree", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_the_soft_accuracy_of_ten_annotators(agree: int, accuracy: float) -> None:
    """Three agree: leaving out one of them gives 2/3 (three times), one of the seven others 1: (3 x 2/3 + 7) / 10 = .9."""
    assert soft_accuracy("Red.", ["a red"] * agree + ["blue"] * (10 - agree)) == pytest.approx(accuracy)


def test_numbers_by_hand(tmp_path: Path) -> None:
    """70 "two" agrees with ten "2": 1. 71 with two of ten: .6. 80 is refused: 0. All 1.6/3; answered 1.6/2; refused 1/3."""
    items = BENCHMARK.read(folder(tmp_path, {70: ["2"] * 10, 71: ["cat"] * 2 + ["dog"] * 8, 80: ["3"] * 10}))
    assert [item.key for item in items] == ["vqa-70", "vqa-71", "vqa-80"]
    assert [item.image.name for item in items if item.image] == ["COCO_val2014_000000000007.jpg"] * 2 + ["COCO_val2014_000000000008.jpg"]
    said = {"vqa-70": "two", "vqa-71": "The cat", "vqa-80": "I do not know."}
    grades = {item.key: BENCHMARK.grade(item, said[item.key]) for item in items}
    values = {name: measure.value for name, measure in BENCHMARK.measures(items, grades).items()}
    assert values == pytest.approx(
        {"accuracy": 1.6 / 3, "accuracy/number": 0.5, "accuracy/other": 0.6, "accuracy where answered": 0.8, "refusal rate": 1 / 3}
    )


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"has no \*questions\*\.json; download the questions"):
        BENCHMARK.read(tmp_path)
    folder(tmp_path, {70: ["a"] * 10, 80: ["b"] * 10})
    (tmp_path / "images" / "COCO_val2014_000000000008.jpg").unlink()
    with pytest.raises(BenchmarkDataMissing, match=r"1 images are missing below .*, first '\*_000000000008\.jpg', needed by 1 of 2"):
        BENCHMARK.read(tmp_path)
    other = tmp_path / "v2_mscoco_val2014_annotations.json"
    other.write_text(json.dumps({"annotations": [{"question_id": 1, "answers": []}]}))
    with pytest.raises(ValueError, match=r"record 1: question_id 70 has no annotation in .*the files are of different splits"):
        BENCHMARK.read(tmp_path)
    other.write_text(json.dumps({"annotations": [{"question_id": 70, "answers": "red"}]}))
    with pytest.raises(ValueError, match="record 1: answers must be a list of annotators' answers, got 'red'"):
        BENCHMARK.read(tmp_path)
    other.write_text('{"annotations": [')
    with pytest.raises(ValueError, match=r"not valid JSON \(is the download whole"):
        BENCHMARK.read(tmp_path)
    (tmp_path / "more_questions.json").write_text("{}")
    with pytest.raises(ValueError, match="both look like the questions; leave one"):
        BENCHMARK.read(tmp_path)


def test_tiny_has_ten_annotators_and_reads_back(tmp_path: Path) -> None:
    BENCHMARK.write_tiny(shape_samples(2), tmp_path, seed=0)
    items = BENCHMARK.read(tmp_path)
    assert [item.prompt for item in items] == [q.text for sample in shape_samples(2) for q in sample.questions]
    assert all(len(item.gold["answers"]) == 10 for item in items)
    assert BENCHMARK.grade(items[0], "red").values == {"refused": False, "accuracy": 1.0}
