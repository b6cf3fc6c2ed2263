"""CLAMBER: lines that are JSON in a JSON string, verdicts, and the measures by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inbol.benchmarks.base import BenchmarkDataMissing
from inbol.benchmarks.clamber import FILE, PUBLISHED, Clamber, counts, read_records, read_verdict
from tests.benchmarks.test_mub import sample

CLAMBER = Clamber()


def line(question: str, ambiguous: int, category: str = "MC", subclass: str = "none", **more: object) -> str:
    """As in the released file, left-over predictions and all."""
    record = {
        "question": question,
        "context": "",
        "clarifying_question": "Which?",
        "require_clarification": ambiguous,
        "category": category,
        "subclass": subclass,
        "predict_is_ambiguous_response": '{"Output": "False", "Confidence": 4}',
        **more,
    }
    return json.dumps(json.dumps(record, ensure_ascii=False) + "\n") + "\n"


def released(folder: Path) -> None:
    """A file with the released file's numbers of records."""
    lines = [
        line(f"{c} {s} {side} {i}?", side, c, s) for (c, s), (a, b) in PUBLISHED.items() for side, n in ((1, a), (0, b)) for i in range(n)
    ]
    (folder / FILE).write_text("".join(lines), encoding="utf-8")


def test_lines_are_decoded_twice(tmp_path: Path) -> None:
    """A text may hold quotes, line ends and the separators at which `splitlines` would cut."""
    odd = 'He said "x\ny"\u2028 and left\x85?'
    (tmp_path / FILE).write_text(line(odd, 1, "FD", "NK", context="It rained.") + line("clear?", 0), encoding="utf-8")
    first, second = read_records(tmp_path / FILE)
    assert (first.question, first.ambiguous, first.category, first.subclass) == (odd, True, "FD", "NK")
    assert (second.question, second.ambiguous) == ("clear?", False)
    asked = CLAMBER.read(tmp_path)
    assert [item.image for item in asked] == [None, None]
    assert f"Context: It rained.\nQuestion: {odd}\n" in asked[0].prompt and "Context" not in asked[1].prompt
    assert '{"Output": "True" or "False", "Confidence": 1 to 5}' in asked[0].prompt


def test_counts_of_the_released_file(tmp_path: Path) -> None:
    """3,202 records, 1,601 a side; any other number is said to be another file."""
    assert tuple(map(sum, zip(*PUBLISHED.values()))) == (1601, 1601)
    released(tmp_path)
    assert counts(read_records(tmp_path / FILE)) == PUBLISHED
    assert CLAMBER.file_notes(tmp_path) == [f"{FILE}: the released 3,202 records."]
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write(line("one more?", 1))
    assert "3,203 records, NOT the released file, which has 3,202" in CLAMBER.file_notes(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line("a?", 1)[:-20], ":1: not JSON in a JSON string"),
        ("[1]\n", ":1: holds list"),
        (line("a?", 1) + line("", 0), ":2: question is ''"),
        (line("a?", 2), "require_clarification is 2"),
        ("\n", "holds no records"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        CLAMBER.read(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"download clamber_benchmark\.jsonl from github\.com/zt991211/CLAMBER"):
        CLAMBER.read(tmp_path)


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ('{"Output": "True", "Confidence": 4}', (True, 4)),
        ("Output: False, Confidence: 5", (False, 5)),
        ("{'output': 'true'}", (True, None)),
        ("Yes, it is ambiguous.", (True, None)),
        ("False", (False, None)),
        ("No. Confidence: 2", (False, 2)),
        ("Which one do you mean?", (None, None)),
        ('{"Output": "True", "Confidence": 9}', (True, None)),
    ],
)
def test_verdicts(response: str, verdict: tuple[bool | None, int | None]) -> None:
    assert read_verdict(response) == verdict


def test_measures_by_hand(tmp_path: Path) -> None:
    """Three ambiguous (a, b, c), two clear (d, e). Said: a true 5, b false 5, c nothing, d true 2, e false 4.

    Right: a, e: accuracy 2/5. Said ambiguous: a, d: precision 1/2, recall 1/3, F1 2/5. Unparsed 1/5.
    Confidence 1, 1, .4, .8 over four: mean .8. Levels: 5: a right, b wrong, gap |1 - 2| = 1; 2: |0 - .4| = .4; 4: |1 - .8| = .2;
    ECE 1.6/4 = .4. Brier (0 + 1 + .16 + .04)/4 = .3.
    """
    rows = [("a?", 1, "FD", "NK"), ("b?", 1, "FD", "NK"), ("c?", 1, "LA", "polysemy"), ("d?", 0, "MC", "none"), ("e?", 0, "MC", "none")]
    (tmp_path / FILE).write_text("".join(line(*row) for row in rows), encoding="utf-8")
    asked = CLAMBER.read(tmp_path)
    said = ["True", 5], ["False", 5], None, ["True", 2], ["False", 4]
    responses = ["Which?" if s is None else json.dumps({"Output": s[0], "Confidence": s[1]}) for s in said]
    grades = {item.key: CLAMBER.grade(item, text) for item, text in zip(asked, responses)}
    found = {name: m.value for name, m in CLAMBER.measures(asked, grades).items()}
    expected = {
        "accuracy": 2 / 5, "accuracy/category=FD": 1 / 2, "accuracy/subclass=polysemy": 0.0, "precision": 1 / 2, "recall": 1 / 3,
        "F1": 2 / 5, "unparsed": 1 / 5, "stated confidence": 0.8, "ECE": 0.4, "Brier": 0.3,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_tiny_is_read_back(tmp_path: Path) -> None:
    CLAMBER.write_tiny([sample(i) for i in range(6)], tmp_path, seed=1)
    asked = CLAMBER.read(tmp_path)
    assert len(asked) == 12 and {item.gold["ambiguous"] for item in asked} == {True, False}
    assert "NOT the released file" in CLAMBER.file_notes(tmp_path)[0]
    grades = {item.key: CLAMBER.grade(item, "True" if item.gold["ambiguous"] else "False") for item in asked}
    found = CLAMBER.measures(asked, grades)
    assert found["F1"].value == 1 and found["ECE"].value is None
