"""Published data sets from files in their original form: records by hand, splits by image, and what is wrong with its file and record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import published
import pytest

from inbol.contracts import Outcome, Question
from inbol.shards.codec import decode, encode
from inbol.sources.aokvqa import DIFFICULT, AOkvqa
from inbol.sources.degrade import Level
from inbol.sources.gqa import Gqa
from inbol.sources.published import NO_AGREEMENT, Format, Options, Part, PublishedSource, agreed, grade
from inbol.sources.vizwiz import VizWiz
from inbol.sources.vqav2 import VqaV2
from inbol.sources.vqav2_idk import VqaV2Idk

RED = ["red"] * 6 + ["dark red"] * 3 + ["bus"]
ALL_APART = list("abcdefghij")


def source(kind: Format, part: Part, *, count: int, **options: Any) -> PublishedSource:
    """All images are `test`."""
    return PublishedSource(format=kind, parts=(part,), sizes={"test": count}, options=Options(**options))


def vqav2_part(root: Path, part: str = "val2014") -> Part:
    questions = root / f"v2_OpenEnded_mscoco_{part}_questions.json"
    return Part(annotations=root / f"v2_mscoco_{part}_annotations.json", questions=questions, images=root / part)


def questions(made: PublishedSource) -> list[Question]:
    """Every question in the order of keys, each sample once through the shard codec and back."""
    found = []
    for key in sorted(made.splits()["test"]):
        sample = made.build("test", key)
        assert decode(key, {name.split(".", 1)[1]: data for name, data in encode(sample).items()}) == sample
        found += sample.questions
    return found


def test_agreed() -> None:
    """red 6, dark red 3, bus 1: two at 3, one at 4; surrounding blanks are no other answer."""
    assert agreed(RED, 3) == ("red", "dark red")
    assert agreed(RED, 4) == ("red",)
    assert agreed([" red", "red ", "red", " "], 3) == ("red",)


def test_vqav2(tmp_path: Path) -> None:
    """Of image 42 one question has answers that three agree on; the other is left out and counted."""
    rows = [("What color is it?", "other", RED), ("What is that?", "other", ALL_APART)]
    published.vqav2(tmp_path, "val2014", {42: rows, 7: [("Is it a bus?", "yes/no", ["yes"] * 10)]})
    made = source(VqaV2(), vqav2_part(tmp_path), count=2)
    seven, first = questions(made)
    assert (first.key, first.image_key) == ("vqav2-q42000", "vqav2-COCO_val2014_000000000042")
    assert (first.text, first.answers, first.kind, first.answerable) == ("What color is it?", ("red", "dark red"), "other", True)
    assert (seven.answers, seven.kind) == (("yes",), "yes/no")
    assert [grade(first, text) for text in ("It is dark red.", "bus", "I cannot tell.")] == [
        Outcome.CORRECT,
        Outcome.WRONG,
        Outcome.REFUSED,
    ]
    assert made.facts() == {"questions_read": 3, "questions_left_out": {NO_AGREEMENT: 1}}
    assert made.build("test", first.image_key).image == (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").read_bytes()


def test_gqa_from_a_file_and_from_a_folder_of_files(tmp_path: Path) -> None:
    published.gqa(tmp_path, "train_all_questions/train_all_questions_0.json", {"02930152": ("n161313", "What color?", "red")})
    published.gqa(tmp_path, "train_all_questions/train_all_questions_1.json", {"05515938": ("2405722", "Is it on?", "yes")})
    folder = Part(annotations=tmp_path / "train_all_questions", questions=None, images=tmp_path / "images")
    second, first = questions(source(Gqa(), folder, count=2))
    assert (first.key, first.image_key, first.answers, first.kind) == ("gqa-q02930152", "gqa-n161313", ("red",), "query")
    one = replace(folder, annotations=folder.annotations / "train_all_questions_1.json")
    assert questions(source(Gqa(), one, count=1)) == [second]


def test_a_okvqa(tmp_path: Path) -> None:
    """Taxi was said three times, ride twice; the correct choice is accepted first. The difficult question is left out of `direct` alone."""
    rows = [{"image_id": 9, "question_id": "22MexNkBPpdZGX6sxbxVBH"}, {"image_id": 10, "question_id": "x", "difficult_direct_answer": True}]
    published.aokvqa(tmp_path, "val", rows)
    part = Part(annotations=tmp_path / "aokvqa_v1p0_val.json", questions=None, images=tmp_path / "val2017")
    made = source(AOkvqa(), part, count=1)
    (one,) = questions(made)
    assert (one.image_key, one.answers) == ("a-okvqa-000000000009", ("cab", "taxi"))
    assert one.text == "What is the man by the bags awaiting?"
    assert made.facts()["questions_left_out"] == {DIFFICULT: 1}
    first, _ = questions(source(AOkvqa(), part, count=2, answer_form="choice"))
    assert first.text == "What is the man by the bags awaiting? Choices: skateboarder, train, delivery, cab."
    assert first.answers == ("cab",)


def test_vizwiz(tmp_path: Path) -> None:
    """Image 1 cannot be answered. Of image 2, "unsuitable" is said most and no answer three times, so that it is left out."""
    rows = [
        ("What is this?", ["basil leaves"] * 4 + ["basil"] * 3 + ["unanswerable"] * 3, 1),
        ("What does it say?", ["unanswerable"] * 8 + ["text"] * 2, 0),
        ("Who?", ["unsuitable"] * 5 + ["a", "b", "c", "a", "b"], 1),
    ]
    published.vizwiz(tmp_path, "val", rows)
    part = Part(annotations=tmp_path / "val.json", questions=None, images=tmp_path / "val")
    made = source(VizWiz(), part, count=2, unanswerable_kind="vague")
    basil, beyond = questions(made)
    assert (basil.key, basil.answers) == ("vizwiz-qVizWiz_val_00000000", ("basil leaves", "basil"))
    assert (beyond.answerable, beyond.answers, beyond.kind) == (False, (), "vague")
    assert made.facts() == {"questions_read": 3, "questions_left_out": {NO_AGREEMENT: 1}}


def test_vqav2_idk_is_beyond_the_image_by_count_and_without_none(tmp_path: Path) -> None:
    """Keywords that count: 3 of image 1, none of image 2 ("none" is its answer), 2 of image 3, which has no other answer thrice."""
    rows = [
        (1, "Whose?", ["unknown"] * 2 + ["don't know"] + ["his"] * 7, ["unknown", "unknown", "don't know"]),
        (2, "Which brand?", ["none"] * 4 + ["sony"] * 3 + ["lg"] * 3, ["none"] * 4),
        (3, "Where?", ["not sure"] * 2 + ALL_APART[:8], ["not sure"] * 2),
    ]
    published.vqav2_idk(tmp_path, "val2014", rows)
    part = Part(annotations=tmp_path / "VQAv2-IDK-val.json", questions=None, images=tmp_path)
    made = source(VqaV2Idk(), part, count=2)
    beyond, hard = questions(made)
    assert (beyond.key, beyond.answerable, beyond.kind) == ("vqav2-idk-q1000", False, "context-dependent")
    assert (hard.answers, hard.kind) == (("none", "sony", "lg"), "hard")
    assert made.facts()["questions_left_out"] == {NO_AGREEMENT: 1}
    assert [q.answerable for q in questions(source(VqaV2Idk(), part, count=3, min_idk=2))] == [False, True, False]
    assert [q.answerable for q in questions(source(VqaV2Idk(), part, count=2, not_idk=()))] == [False, False]


def test_no_image_is_in_two_splits(tmp_path: Path) -> None:
    """Ten training images of three questions each: 5, 2 and 1 of them; `test` comes from the other part."""
    asked = [(f"question {n}?", "other", RED) for n in range(3)]
    published.vqav2(tmp_path, "train2014", dict.fromkeys(range(1, 11), asked))
    published.vqav2(tmp_path, "val2014", dict.fromkeys(range(21, 25), asked))
    sizes = {"pretrain": 5, "align-train": 2, "align-val": 1, "test": 3}
    parts = (vqav2_part(tmp_path, "train2014"), vqav2_part(tmp_path))
    made = PublishedSource(format=VqaV2(), parts=parts, sizes=sizes, seed=3, questions_per_image=2)
    splits = made.splits()
    assert {split: len(keys) for split, keys in splits.items()} == sizes
    assert len({key for keys in splits.values() for key in keys}) == 11
    assert all(("val2014" in key) == (split == "test") for split, keys in splits.items() for key in keys)
    assert splits == replace(made).splits() != replace(made, seed=4).splits()
    assert len(made.build("test", splits["test"][0]).questions) == 2
    one_pool = PublishedSource(format=VqaV2(), parts=parts[:1], sizes={"align-train": 6, "test": 4})
    assert len({key for keys in one_pool.splits().values() for key in keys}) == 10
    with pytest.raises(ValueError, match=r"has 10 images with usable questions; asked for 11 .*lower source\.\*_images"):
        replace(one_pool, sizes={"align-train": 7, "test": 4}).splits()


def test_an_image_in_both_parts_is_refused(tmp_path: Path) -> None:
    for split in ("a", "b"):
        published.gqa(tmp_path, f"{split}.json", {f"{split}1": ("77", "What?", "red")})
    parts = tuple(Part(annotations=tmp_path / f"{split}.json", questions=None, images=tmp_path / "images") for split in ("a", "b"))
    with pytest.raises(ValueError, match=r"'gqa-77' stands in both parts: .*a\.json: record 'a1' and .*b\.json: record 'b1'"):
        PublishedSource(format=Gqa(), parts=parts, sizes={"test": 1}).splits()


def test_levels_degrade_all_but_pretrain(tmp_path: Path) -> None:
    published.gqa(tmp_path, "a.json", {"1": ("77", "What?", "red")})
    part = Part(annotations=tmp_path / "a.json", questions=None, images=tmp_path / "images")
    made = PublishedSource(format=Gqa(), parts=(part,), sizes={"test": 1}, levels=(Level(occlusion=1.0),))
    assert made.build("pretrain", "gqa-77").image == (tmp_path / "images" / "77.jpg").read_bytes()
    assert made.build("test", "gqa-77").image_format == "png"


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def _row(**fields: Any) -> Callable[[Any], Any]:
    """Changes the second record; None takes a field away."""

    def change(rows: Any) -> None:
        rows = rows.get("questions", rows.get("annotations")) if isinstance(rows, dict) else rows
        for field, value in fields.items():
            rows[1].pop(field) if value is None else rows[1].update({field: value})

    return change


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("questions", _row(question=None), r"questions\.json: record 1: lacks question"),
        ("questions", _row(question=" "), r"questions\.json: record 1: question is empty"),
        ("questions", _row(image_id="8"), r"questions\.json: record 1: image_id must be a number, got '8'"),
        ("questions", _row(question_id=7000), "record 1: question_id 7000 asks about image_id 8, its annotation about 7"),
        ("questions", _row(question_id=5), "record 1: question_id 5 has no annotation; are both files of the same part"),
        ("questions", lambda raw: {"questions": [*raw["questions"], 5], "data_subtype": "val2014"}, "record 2: a record must be an object"),
        ("questions", lambda raw: {"questions": raw["questions"]}, "record 0: data_subtype must be a text, got None"),
        ("questions", lambda raw: {"annotations": []}, "has no list `questions`; are annotations and questions the right way"),
        ("questions", lambda raw: [1], r"must hold a JSON object, got list"),
        ("annotations", _row(answers=["a", 1]), r"questions\.json: record 1: answers must be texts, or objects with `answer`"),
        ("annotations", _row(answer_type=None), "record 1: lacks answer_type"),
    ],
)
def test_a_wrong_record_is_named_with_file_and_number(tmp_path: Path, name: str, change: Callable[[Any], Any], message: str) -> None:
    published.vqav2(tmp_path, "val2014", {n: [("What?", "other", RED)] for n in (7, 8)})
    (path,) = tmp_path.glob(f"*{name}.json")
    _edit(path, change)
    with pytest.raises(ValueError, match=message):
        source(VqaV2(), vqav2_part(tmp_path), count=2).splits()


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    published.aokvqa(tmp_path, "val", [{"image_id": n, "question_id": str(n), "correct_choice_idx": 4} for n in range(25)])
    part = Part(annotations=tmp_path / "aokvqa_v1p0_val.json", questions=None, images=tmp_path / "val2017")
    with pytest.raises(ValueError, match="25 mistakes in a-okvqa; nothing was written") as error:
        source(AOkvqa(), part, count=1).splits()
    assert str(error.value).count("correct_choice_idx 4 is not one of 4 choices") == 20
    assert str(error.value).endswith("... and 5 more")


def test_a_question_twice_and_an_image_outside_are_refused(tmp_path: Path) -> None:
    published.vqav2_idk(tmp_path, "val2014", [(1, "Where?", RED, []), (1, "Where?", RED, [])])
    path = tmp_path / "VQAv2-IDK-val.json"
    made = source(VqaV2Idk(), Part(annotations=path, questions=None, images=tmp_path), count=1)
    with pytest.raises(ValueError, match=r"record 1: question id '1000' was used before, in .*record 0"):
        replace(made).splits()
    _edit(path, lambda rows: [{**rows[0], "image": "../secret.jpg"}])
    with pytest.raises(ValueError, match=r"record 0: image '\.\./secret\.jpg' lies outside the folder"):
        replace(made).splits()


def test_missing_files_say_what_to_download_from_where(tmp_path: Path) -> None:
    published.vizwiz(tmp_path, "val", [("What is this?", RED, 1), ("And this?", RED, 1)])
    part = Part(annotations=tmp_path / "val.json", questions=None, images=tmp_path / "val")
    made = source(VizWiz(), part, count=2)
    (tmp_path / "val" / "VizWiz_val_00000001.jpg").unlink()
    with pytest.raises(ValueError, match=r"00000001\.jpg: no such file, named in .*val\.json: record 1; 1 of 2 images .*vizwiz\.org"):
        made.splits()
    (tmp_path / "val" / "VizWiz_val_00000001.jpg").write_bytes(b"hello")
    made.splits()
    with pytest.raises(ValueError, match=r"val\.json: record 1: image 'VizWiz_val_00000001\.jpg': not a PNG, JPEG"):
        made.build("test", "vizwiz-VizWiz_val_00000001")
    (tmp_path / "val.json").unlink()
    with pytest.raises(ValueError, match=r"val\.json: no such file; from https://vizwiz\.org.* take Annotations\.zip"):
        replace(made).splits()


def test_parts_without_answers_are_named_as_such(tmp_path: Path) -> None:
    published.gqa(tmp_path, "a.json", {"1": ("77", "What?", "red")})
    _edit(tmp_path / "a.json", lambda rows: rows["1"].pop("answer") and rows)
    part = Part(annotations=tmp_path / "a.json", questions=None, images=tmp_path / "images")
    with pytest.raises(ValueError, match=r"record '1': lacks answer; GQA publishes no answers of test"):
        source(Gqa(), part, count=1).splits()
