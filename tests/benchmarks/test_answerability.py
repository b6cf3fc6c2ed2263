"""Answerability: the two file formats, and refusal as detection by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.answerability import Answerability
from inbol.benchmarks.base import BenchmarkDataMissing

BENCHMARK = Answerability()


def vizwiz(answerable: object, answer: str = "can") -> dict[str, Any]:
    answers = [{"answer": answer, "answer_confidence": "yes"}] * 10
    return {"image": "a.jpg", "question": "What is this?", "answers": answers, "answer_type": "other", "answerable": answerable}


def unk(number: int, binary: int, kind: str) -> dict[str, Any]:
    label = {"binary": binary, "other": []}
    return {"question_id": number, "question": "why?", "image_name": "a.jpg", "answerability": label, "alter_type": kind, "misc": 1}


def folder(path: Path, name: str, content: object) -> Path:
    write_png(path / "a.jpg")
    (path / name).write_text(json.dumps(content))
    return path


def measured(items: list[Any], said: list[str]) -> dict[str, float | None]:
    grades = {item.key: BENCHMARK.grade(item, text) for item, text in zip(items, said, strict=True)}
    return {name: measure.value for name, measure in BENCHMARK.measures(items, grades).items()}


def test_vizwiz_by_hand(tmp_path: Path) -> None:
    """Refused: 1 of 2 that cannot be answered, 1 of 3 that can. Precision 1/2, recall 1/2, F1 1/2; accuracy 1/3 of the answerable."""
    items = BENCHMARK.read(folder(tmp_path, "val.json", [vizwiz(0), vizwiz(0), vizwiz(1), vizwiz(1), vizwiz(1)]))
    values = measured(items, ["unanswerable", "a can", "I am not able to tell.", "can", "bottle"])
    assert values == pytest.approx(
        {
            "refusal precision": 1 / 2,
            "refusal recall": 1 / 2,
            "refusal F1": 1 / 2,
            "over-refusal": 1 / 3,
            "refusal rate": 2 / 5,
            "accuracy": 1 / 3,
        }
    )


def test_unk_vqa_has_no_accuracy_and_recall_by_kind_of_alteration(tmp_path: Path) -> None:
    """T-1: 1 of 2 refused, I-2: 1 of 1; the answerable one is answered."""
    content = {"answer_map": {}, "annotation": [unk(1, 0, "T-1"), unk(2, 0, "T-1"), unk(3, 0, "I-2"), unk(4, 1, "T-1")]}
    items = BENCHMARK.read(folder(tmp_path, "annt_test.json", content))
    assert items[0].gold["meta"] == {"question_id": 1, "misc": 1}
    values = measured(items, ["I do not know.", "x", "It cannot be determined.", "x"])
    assert "accuracy" not in values
    assert values["refusal recall"] == pytest.approx(2 / 3) and values["over-refusal"] == 0
    assert values["refusal recall/T-1"] == 0.5 and values["refusal recall/I-2"] == 1


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"has no annt_test\.json or .*; put either VizWiz's val\.json"):
        BENCHMARK.read(tmp_path)
    with pytest.raises(ValueError, match="record 2: answerable must be 0 or 1, got 'maybe'"):
        BENCHMARK.read(folder(tmp_path, "val.json", [vizwiz(1), vizwiz("maybe")]))
    with pytest.raises(ValueError, match=r"holds annt_test\.json and val\.json; one of them is measured"):
        BENCHMARK.read(folder(tmp_path, "annt_test.json", {"annotation": [unk(1, 0, "T-1")]}))
    (tmp_path / "val.json").unlink()
    (tmp_path / "annt_test.json").write_text("[]")
    with pytest.raises(ValueError, match=r"annt_test\.json: must be a JSON object with an array 'annotation'"):
        BENCHMARK.read(tmp_path)


def test_tiny_has_both_kinds_and_reads_back(tmp_path: Path) -> None:
    BENCHMARK.write_tiny(shape_samples(3), tmp_path, seed=0)
    labels = [item.gold["answerable"] for item in BENCHMARK.read(tmp_path)]
    assert labels.count(True) == labels.count(False) == 6
