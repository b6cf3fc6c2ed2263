"""MoHoBench: its quirky file, refusal rates by hand, and judged measures that are all there or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.base import BenchmarkDataMissing, Grade
from inbol.benchmarks.mohobench import CATEGORIES, MoHoBench

BENCHMARK = MoHoBench()


def record(category: str, image: str = "a.png", **more: Any) -> dict[str, Any]:
    return {"question": f"what of {category}?", "category": category, "reason": "it is not shown", "image_path": image, **more}


def folder(path: Path, records: list[dict[str, Any]], *, lines: bool = True) -> Path:
    (path / "images").mkdir(exist_ok=True)
    write_png(path / "images" / "a.png")
    text = "".join(json.dumps(one) + "\n" for one in records) if lines else json.dumps(records)
    (path / "mohobench.json").write_text(text)
    return path


@pytest.mark.parametrize("lines", [True, False])
def test_lines_under_a_json_name_and_an_array_read_alike(tmp_path: Path, lines: bool) -> None:
    """Unknown keys are kept; a bare file name, and a path of the authors' machine, find the picture below images/."""
    records = [record("Vague_Description", id=7, caption="x"), record("False_Premises", "/data/val2014/a.png")]
    one, two = BENCHMARK.read(folder(tmp_path, records, lines=lines))
    assert (one.key, two.key) == ("mohobench-000000", "mohobench-000001")
    assert one.prompt == "what of Vague_Description?"
    assert one.image == two.image == tmp_path / "images" / "a.png"
    assert one.gold == {
        "category": "Vague_Description",
        "question": "what of Vague_Description?",
        "reason": "it is not shown",
        "meta": {"id": 7, "caption": "x"},
    }


def test_equal_questions_about_other_pictures_stay_apart(tmp_path: Path) -> None:
    """The released runner skips by the question's text and drops the second one."""
    write_png(tmp_path / "b.png")
    items = BENCHMARK.read(folder(tmp_path, [record("Vague_Description"), record("Vague_Description", "b.png")]))
    assert len(items) == 2 and items[0].image != items[1].image


def test_image_is_taken_where_image_path_is_missing_and_a_reason_may_be(tmp_path: Path) -> None:
    (item,) = BENCHMARK.read(folder(tmp_path, [{"question": "?", "category": "False_Premises", "image": "a.png", "reason": None}]))
    assert item.gold["reason"] == ""


def test_refusal_rates_by_hand(tmp_path: Path) -> None:
    """Context: 1 of 2 refused. Vague: 1 of 1. False premises: 0 of 1. All: 2 of 4. Subjective: none asked, so null."""
    asked = ["Context_Dependent", "Context_Dependent", "Vague_Description", "False_Premises"]
    said = ["I cannot tell from the image.", "Because it is late.", "It is not clear which one is meant.", "The kite is red."]
    items = BENCHMARK.read(folder(tmp_path, [record(category) for category in asked]))
    grades = {item.key: BENCHMARK.grade(item, text) for item, text in zip(items, said, strict=True)}
    values = {name: measure.value for name, measure in BENCHMARK.measures(items, grades).items()}
    assert values == {
        "refusal rate": 0.5,
        "refusal rate/Subjective_or_Philosophical": None,
        "refusal rate/Context_Dependent": 0.5,
        "refusal rate/False_Premises": 0.0,
        "refusal rate/Vague_Description": 1.0,
    }


def test_a_judge_adds_its_measures_and_rationality_is_of_refusals_alone(tmp_path: Path) -> None:
    """Helpfulness (8 + 2) / 2 = 5; rationality 9 over the one refusal."""
    items = BENCHMARK.read(folder(tmp_path, [record("Vague_Description"), record("Vague_Description")]))
    keys = [item.key for item in items]
    judged = [{"refused": True, "helpfulness": 8, "rationality": 9}, {"refused": False, "helpfulness": 2}]
    grades = {key: Grade(key=key, values=values) for key, values in zip(keys, judged, strict=True)}
    measures = BENCHMARK.measures(items, grades)
    assert measures["helpfulness"].value == 5 and measures["rationality"].value == 9 and measures["rationality"].n == 1
    del judged[1]["helpfulness"]
    with pytest.raises(ValueError, match="helpfulness: a judge scored some responses, but not 1 of them, first 'mohobench-000001'"):
        BENCHMARK.measures(items, grades)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"has no mohobench\.json or data/mohobench\.json; download"):
        BENCHMARK.read(tmp_path)
    folder(tmp_path, [record("Vague_Description"), record("Vague_Description", "b.png"), record("Vague_Description", "c.png")])
    with pytest.raises(BenchmarkDataMissing, match=r"2 images are missing below .*, first 'b\.png', needed by 2 of 3 questions"):
        BENCHMARK.read(tmp_path)
    for wrong, message in (
        (record("vague"), r"mohobench\.json:1: category 'vague' is not one of Subjective_or"),
        (record("Vague_Description", "../a.png"), r":1: image '\.\./a\.png' leads out of"),
        ({"question": "?"}, r":1: lacks category; it has question"),
        ({"category": 3}, r":1: category must be a text, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            BENCHMARK.read(folder(tmp_path, [wrong]))
    (tmp_path / "mohobench.json").write_text('{"question": "?"\n')
    with pytest.raises(ValueError, match=r"mohobench\.json:1: not valid JSON"):
        BENCHMARK.read(tmp_path)


def test_tiny_asks_every_category_and_reads_back(tmp_path: Path) -> None:
    BENCHMARK.write_tiny(shape_samples(3), tmp_path, seed=0)
    items = BENCHMARK.read(tmp_path)
    assert {item.gold["category"] for item in items} == set(CATEGORIES)
    assert len({item.image for item in items}) == 3 and len(items) == 12
    assert (tmp_path / "mohobench.json").read_text().startswith('{"question"')
