"""POPE: its three files, what a response says, and the numbers by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.base import BenchmarkDataMissing
from inbol.benchmarks.pope import SPLITS, Pope

BENCHMARK = Pope()
LABELS = ["yes", "yes", "yes", "no", "no", "no"]


def folder(path: Path, labels: list[str] = LABELS) -> Path:
    write_png(path / "COCO_val2014_000000000042.jpg")
    for split in SPLITS:
        lines = [
            {
                "question_id": n,
                "image": "COCO_val2014_000000000042.jpg",
                "image_id": 42,
                "text": f"Is there a {n} in the image?",
                "label": label,
            }
            for n, label in enumerate(labels)
        ]
        (path / f"coco_pope_{split}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_numbers_by_hand(tmp_path: Path) -> None:
    """random: TP 2, FN 1 (refused), FP 1, TN 1, one unreadable. Accuracy 3/6, precision 2/3, recall 2/3, F1 2/3, yes 3/6.

    popular: all right. adversarial: always no: precision has no denominator, recall 0, F1 0, accuracy 1/2.
    """
    said = {
        "random": ["Yes.", "Yes, there is.", "I cannot tell from the image.", "Yes", "No, there is not.", "A cat"],
        "popular": [f"{label}!" for label in LABELS],
        "adversarial": ["no"] * 6,
    }
    items = BENCHMARK.read(folder(tmp_path))
    assert [item.gold["split"] for item in items] == [split for split in SPLITS for _ in LABELS]
    grades = {item.key: BENCHMARK.grade(item, said[item.gold["split"]][number % 6]) for number, item in enumerate(items)}
    values = {name: measure.value for name, measure in BENCHMARK.measures(items, grades).items()}

    def of(split: str) -> list[float | None]:
        names = ("accuracy", "precision", "recall", "F1", "yes share", "refusal rate", "unreadable")
        return [values[f"{name}{split}"] for name in names]

    assert of("/random") == pytest.approx([1 / 2, 2 / 3, 2 / 3, 2 / 3, 1 / 2, 1 / 6, 1 / 6])
    assert of("/popular") == pytest.approx([1, 1, 1, 1, 1 / 2, 0, 0])
    assert of("/adversarial")[1] is None
    assert [of("/adversarial")[i] for i in (0, 2, 3, 4)] == [0.5, 0, 0, 0]
    assert of("") == pytest.approx([12 / 18, 5 / 6, 5 / 9, 10 / 15, 6 / 18, 1 / 18, 1 / 18])


def test_against_the_definitions_counted_one_by_one(tmp_path: Path) -> None:
    """Every mix of answers to six questions: precision, recall and F1 from TP, FP and FN."""
    items = BENCHMARK.read(folder(tmp_path))[:6]
    for code in range(64):
        said = ["yes" if code >> bit & 1 else "no" for bit in range(6)]
        values = BENCHMARK.measures(items, {item.key: BENCHMARK.grade(item, text) for item, text in zip(items, said, strict=True)})
        tp = sum(s == "yes" == label for s, label in zip(said, LABELS, strict=True))
        fp, fn = said.count("yes") - tp, 3 - tp
        assert values["precision"].value == (pytest.approx(tp / (tp + fp)) if tp + fp else None)
        assert values["recall"].value == pytest.approx(tp / (tp + fn))
        assert values["F1"].value == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert values["accuracy"].value == pytest.approx((tp + 3 - fp) / 6)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"has no \*_pope_random\.json; download output/coco/coco_pope_"):
        BENCHMARK.read(tmp_path)
    folder(tmp_path)
    (tmp_path / "coco_pope_popular.json").unlink()
    with pytest.raises(BenchmarkDataMissing, match=r"has no \*_pope_popular\.json"):
        BENCHMARK.read(tmp_path)
    with pytest.raises(ValueError, match=r"coco_pope_random\.json:2: label 'maybe' is not one of yes, no"):
        BENCHMARK.read(folder(tmp_path, ["yes", "maybe"]))
    folder(tmp_path)
    (tmp_path / "aokvqa_pope_random.json").write_text("{}")
    with pytest.raises(ValueError, match=r"aokvqa_pope_random\.json and coco_pope_random\.json are both the split random"):
        BENCHMARK.read(tmp_path)


def test_tiny_is_half_about_absent_shapes_and_reads_back(tmp_path: Path) -> None:
    BENCHMARK.write_tiny(shape_samples(4), tmp_path, seed=0)
    items = BENCHMARK.read(tmp_path)
    assert len(items) == 24 and sum(item.gold["label"] == "no" for item in items) == 12
    assert len({item.image for item in items}) == 4
