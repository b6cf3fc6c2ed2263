"""MM-SAP: the order of options, letters read from responses, the published totals, and scores by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.mm_sap import BASIC, BEYOND, KNOW, REFUSAL, SUBSETS, MmSap, read_letter

# mean accuracies in per cent of YHWmz/MM-SAP's README: Basic, Know, Beyond, Total
LEADERBOARD = {
    "GPT-4V": (61.60, 83.43, 81.96, 75.13),
    "Qwen-VL-Chat-7b": (70.60, 72.11, 30.33, 57.82),
    "InfMLLM-7b": (70.95, 55.54, 41.03, 56.28),
    "ShareGPT-4V-7b": (69.70, 56.69, 41.03, 56.19),
    "CogVLM-17b": (69.70, 66.00, 30.49, 55.64),
    "LLaVA-13b": (68.25, 58.11, 34.02, 53.81),
    "ShareGPT-4V-13b": (68.00, 60.29, 30.43, 53.22),
    "LLaVA-7b": (62.00, 54.23, 30.27, 49.12),
}
SIZES = {BASIC: 400, KNOW: 350, BEYOND: 368}
OPTIONS = ["red", "blue", "green", "black"]


def folder(path: Path, **changed: list[dict[str, Any]]) -> Path:
    write_png(path / "a.png")
    basic = {"image": "a.png", "question": "what color?", "options": OPTIONS, "answer": "red"}
    beyond = {"image": "a.png", "question": "what smell?", "options": [*OPTIONS, REFUSAL], "type": "other-modalities"}
    for subset in SUBSETS:
        records = changed.get(subset, [beyond if subset == BEYOND else basic])
        (path / f"{subset}.json").write_text(json.dumps(records))
    return path


@pytest.mark.parametrize("model", LEADERBOARD)
def test_the_total_is_that_of_the_published_leaderboard(model: str) -> None:
    """Micro-average over 400, 350 and 368 items; fractional items stand for means over runs."""
    items, grades = [], {}
    for subset, percent in zip(SUBSETS, LEADERBOARD[model][:3], strict=True):
        for number in range(SIZES[subset]):
            item = BenchmarkItem(key=f"{subset}-{number}", image=None, prompt="?", gold={"subset": subset, "type": ""})
            items.append(item)
            right = number < round(percent / 100 * SIZES[subset])
            values = {"choice": "A", "correct": right, "refused": right and subset == BEYOND}
            grades[item.key] = Grade(key=item.key, values=values)
    measures = MmSap().measures(items, grades)
    total = measures["total"].value
    assert total == pytest.approx(LEADERBOARD[model][3] / 100, abs=0.5 * 3 / 1118 + 1e-4)  # counts are whole numbers here
    exact = sum(percent * SIZES[subset] for subset, percent in zip(SUBSETS, LEADERBOARD[model][:3], strict=True)) / 1118
    assert exact == pytest.approx(LEADERBOARD[model][3], abs=0.0101)
    assert total == pytest.approx(measures["score_kk"].value + measures["score_ku"].value)


def test_scores_by_hand(tmp_path: Path) -> None:
    """Basic: right, refused. Know: wrong, unreadable. Beyond: refused in words, by letter, and answered.

    total 3/7, kk 1/7, ku 2/7. T0 Basic (1 + 0) / 2, Know -1. T1 = (1 + 0 - 1 - 1 + 1 + 1 - 1) / 7 = 0.
    """
    read = MmSap().read(folder(tmp_path))
    by_subset = {item.gold["subset"]: item for item in read}
    plan = [(BASIC, "red"), (BASIC, REFUSAL), (KNOW, "blue"), (KNOW, "Colours are nice things."), (BEYOND, "I cannot tell.")]
    plan += [(BEYOND, by_subset[BEYOND].gold["refusal"]), (BEYOND, "green")]
    items, grades = [], {}
    for number, (subset, said) in enumerate(plan):
        item = BenchmarkItem(key=str(number), image=None, prompt="?", gold=by_subset[subset].gold)
        items.append(item)
        grades[item.key] = MmSap().grade(item, said)
    values = {name: measure.value for name, measure in MmSap().measures(items, grades).items()}
    assert values == pytest.approx(
        {
            BASIC: 1 / 2,
            KNOW: 0,
            BEYOND: 2 / 3,
            "total": 3 / 7,
            "score_kk": 1 / 7,
            "score_ku": 2 / 7,
            "T1": 0.0,
            "unreadable": 1 / 7,
            f"refusal rate/{BASIC}": 1 / 2,
            f"refusal rate/{KNOW}": 0,
            f"T0/{BASIC}": 1 / 2,
            f"T0/{KNOW}": -1,
            f"refusal rate/{BEYOND}/other-modalities": 2 / 3,
        }
    )


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("B", "B"), ("(B)", "B"), ("b", None), ("B.", "B"), ("B. blue", "B"), ("B) because", "B"), ("(B) blue, I think", "B"),
        ("The answer is B.", "B"), ("Answer: B", "B"), ("the correct option is (B)", "B"), ("Blue.", "B"), ("A dog is here", None),
        ("F", None), ("", None), ("BB", None), ("red or blue", None), ("I think A or B", None),
    ],
)  # fmt: skip
def test_letters(response: str, letter: str | None) -> None:
    assert read_letter(response, ["red", "blue", "green", "black", REFUSAL]) == letter


def test_options_are_in_random_order_by_seed_and_the_refusal_is_one_of_them(tmp_path: Path) -> None:
    record = {"image": "a.png", "question": "what color?", "options": OPTIONS, "answer": "red"}
    folder(tmp_path, **{BASIC: [record] * 400})
    items = MmSap(seed=0).read(tmp_path)
    assert [item.gold for item in MmSap(seed=0).read(tmp_path)] == [item.gold for item in items]
    assert [item.gold for item in MmSap(seed=1).read(tmp_path)] != [item.gold for item in items]
    places = Counter(item.gold["answer"] for item in items[:400])
    assert set(places) == set("ABCDE") and max(places.values()) < 120
    first = items[0]
    assert sorted(first.gold["options"]) == sorted([*OPTIONS, REFUSAL])
    assert first.gold["options"]["ABCDE".index(first.gold["refusal"])] == REFUSAL
    assert first.prompt.splitlines()[0] == "what color?"
    assert first.prompt.splitlines()[1:6] == [f"{letter}. {text}" for letter, text in zip("ABCDE", first.gold["options"], strict=True)]


def test_options_by_letter_and_an_answer_by_letter(tmp_path: Path) -> None:
    record = {"image": "a.png", "question": "?", "options": {"A": "red", "B": "blue"}, "answer": "B"}
    item = MmSap().read(folder(tmp_path, **{BASIC: [record]}))[0]
    assert item.gold["options"]["ABC".index(item.gold["answer"])] == "blue"


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"has no BasicVisQA\.json or BasicVisQA\.jsonl; download MM-SAP"):
        MmSap().read(tmp_path)
    good = {"image": "a.png", "question": "?", "options": OPTIONS, "answer": "red"}
    for subset, change, message in (
        (BASIC, {"answer": "pink"}, "answer 'pink' is neither an option nor its letter"),
        (BASIC, {"options": ["red"]}, "options must be two or more texts"),
        (BASIC, {"options": ["red", "Red!"]}, "two options are the same"),
        (BASIC, {"answer": REFUSAL, "options": ["red", REFUSAL]}, "refusing is right on BeyondVisQA and nowhere else"),
        (BEYOND, {}, "the answer is 'red', but refusing is right on BeyondVisQA"),
    ):
        with pytest.raises(ValueError, match=f"{subset}.json: record 1: .*{message}"):
            MmSap().read(folder(tmp_path, **{subset: [{**good, **change}]}))


def test_tiny_reads_back(tmp_path: Path) -> None:
    MmSap().write_tiny(shape_samples(4), tmp_path, seed=0)
    counts = Counter(item.gold["subset"] for item in MmSap().read(tmp_path))
    assert counts == {BASIC: 4, KNOW: 4, BEYOND: 8}
