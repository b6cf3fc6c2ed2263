"""MUB's files as published: arrays that stop in the middle of a record, every record several times."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from inbol.benchmarks.base import BenchmarkDataMissing
from inbol.benchmarks.mub_files import parse, read_array, read_folder, split_notes
from tests.benchmarks.mub_world import record, write, yes_no

EXCERPT = Path(__file__).parent / "golden" / "mub_excerpt.jsonl"
"""Three records (six with repetitions) of the published allmislead_gpt6_all.jsonl and the start of the next; licence beside it."""

BLOTTED = Path(__file__).parent / "golden" / "mub_gpt6_blotted.jsonl.xz"
"""The whole published allmislead_gpt6_all.jsonl with its texts made unreadable; golden/README.md says how."""


def test_a_cut_array_gives_its_whole_records_and_says_what_is_lost(tmp_path: Path) -> None:
    """Two records three times, of which the last is cut: 5 whole ones; what is lost is the last without its last 10 bytes."""
    path = write(tmp_path, "all_combined_items.jsonl", [record(0), record(1)], cut=10)
    array = read_array(path)
    assert [r["new_id"] for _, r in array.records] == ["extract_img_all/0.jpg"] * 3 + ["extract_img_all/1.jpg"] * 2
    lines = path.read_text().splitlines()
    assert all(lines[line - 1] == "  {" for line, _ in array.records)
    whole = path.read_bytes()
    start = whole.rindex(b"\n  }") + len(b"\n  }")
    assert (array.lost, array.closed) == (len(whole) - start, False)


def test_a_cut_inside_a_character_is_a_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "all_combined_items.jsonl"
    data = json.dumps([{"a": 1}, {"b": "图"}], ensure_ascii=False).encode()
    path.write_bytes(data[: data.index("图".encode()) + 2])
    array = read_array(path)
    assert [r for _, r in array.records] == [{"a": 1}] and array.lost == len(', {"b": "') + 2


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_wherever_the_cut_is(tmp_path: Path, cut: int) -> None:
    """No cut loses a whole record or invents one; the whole file is closed and loses nothing."""
    one = record(0)
    path = write(tmp_path, "all_combined_items.jsonl", [one], repeat=4, cut=cut, images=False)
    array = read_array(path)
    assert [r for _, r in array.records] == [one] * len(array.records)
    ends = path.read_bytes().count(b"\n  }")
    assert len(array.records) == ends and array.closed is (cut == 0) and (array.lost > 0 or cut < 3)


def test_damage_in_the_middle_is_no_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "all_combined_items.jsonl", [record(0), record(1), record(2)], repeat=1)
    text = path.read_text()
    path.write_text(text.replace('"num": 6', '"num": ', 1))
    with pytest.raises(ValueError, match=r"all_combined_items\.jsonl:2: record 1 is not JSON .*others follow"):
        read_array(path)
    path.write_text("\n".join(json.dumps(record(i)) for i in range(2)))
    with pytest.raises(ValueError, match="expected a JSON array as published"):
        read_array(path)
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="record 1 is int, expected an object"):
        read_array(path)
    path.write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(ValueError, match="byte 8 is not UTF-8"):
        read_array(path)


def test_published_excerpt() -> None:
    """The real format, truncated as the real file is: 6 whole records, 3 distinct by (question, new_id)."""
    array = read_array(EXCERPT)
    assert len(array.records) == 6 and not array.closed
    parsed = [parse(raw, "excerpt") for _, raw in array.records]
    distinct = {(r.question, r.image): r for r in parsed}
    assert len(distinct) == 3
    towers, lab, train = distinct.values()
    assert (towers.answer, towers.hint, towers.num, towers.dataset) == ("D", "B", 6, "MMMU")
    assert towers.question.startswith("<image 1> ") and list(towers.choices) == ["A", "B", "C", "D"]
    assert len(towers.misleading) == 5 and not towers.misleading[0].startswith("1.")
    assert (train.yes_no, train.answer, train.hint, train.choices) == (True, "yes", "no", {})
    assert len(lab.misleading) == 5  # the published text starts with an empty note


def test_published_file_has_447_records_and_55_questions(tmp_path: Path) -> None:
    """Counted in the published file: 447 whole records, 55 distinct by (question, new_id), 992 bytes behind them."""
    path = tmp_path / "implicit" / "mislead_output" / "allmislead_gpt6_all.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.decompress(BLOTTED.read_bytes()))
    array, reading = read_array(path), read_folder(tmp_path)
    assert (path.stat().st_size, len(array.records), array.lost, array.closed) == (1_310_720, 447, 992, False)
    assert len(reading.records) == 55 and {r.num for r in reading.records} == {6}
    assert reading.notes[0] == (
        "allmislead_gpt6_all.jsonl: 447 records, 55 of them new by (question, new_id); TRUNCATED, the last 992 bytes are no whole record."
    )


def test_repetitions_are_dropped_and_files_merged(tmp_path: Path) -> None:
    """Four distinct questions in two files, one in both; the file without notes takes them from the other."""
    bare = {k: v for k, v in record(0).items() if not k.startswith("closed")}
    write(tmp_path, "all_combined_items.jsonl", [bare, yes_no(1), record(2, question="What is <image 2>?")], repeat=9)
    write(tmp_path, "implicit/mislead_output/allmislead_gpt6_all.jsonl", [record(0), record(3)], cut=100)
    reading = read_folder(tmp_path)
    assert [r.image for r in reading.records] == [f"extract_img_all/{i}.jpg" for i in range(4)]
    assert reading.records[0].misleading == ("It is a grave.", "Nobody climbs it.", "It is old.")
    assert reading.notes[0] == "all_combined_items.jsonl: 27 records, 3 of them new by (question, new_id)."
    assert "5 records, 1 of them new" in reading.notes[1] and "TRUNCATED, the last" in reading.notes[1]
    assert "1 questions speak of <image 2>" in reading.notes[2]
    assert len({r.key for r in reading.records}) == 4


def test_a_repetition_that_differs_is_said(tmp_path: Path) -> None:
    write(tmp_path, "all_combined_items.jsonl", [record(0), record(0, guide="And the true answer is : A")], repeat=2)
    reading = read_folder(tmp_path)
    assert [r.hint for r in reading.records] == ["C"] and "2 repetitions differ, the first counts" in reading.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_type_CHorYN": "XX"}, "question_type_CHorYN is 'XX', expected one of CH, YN"),
        ({"answer": "tower"}, "answer is 'tower', expected a capital letter"),
        ({"guide": "Trust me."}, "guide is 'Trust me.'"),
        ({"guide": "And the true answer is : maybe"}, "guide is 'maybe'"),
        ({"num": "6"}, "num is '6'"),
        ({"new_id": "../../etc/passwd"}, "expected a path inside the release"),
        ({"new_id": "/etc/passwd"}, "expected a path inside the release"),
        ({"question": " "}, "question is ' ', expected a text"),
        ({"choices": ["a", "b"]}, "choices is list"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write(tmp_path, "all_combined_items.jsonl", [record(0), {**record(1), **changes}], repeat=1, images=False)
    with pytest.raises(ValueError, match=rf"all_combined_items\.jsonl:\d+: .*{message[:30]}"):
        read_folder(tmp_path)


def test_without_files_it_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkDataMissing, match=r"none of MUB's files .*github\.com/Yunkai696/MUB.*Google Drive"):
        read_folder(tmp_path)


def test_notes() -> None:
    """Numbers and empty notes go; a text without a divider is one note."""
    assert split_notes("1. a\n///\n2. b 3. c ///  /// ") == ("a", "b 3. c")
    assert split_notes("one blob") == ("one blob",) and split_notes("") == ()
