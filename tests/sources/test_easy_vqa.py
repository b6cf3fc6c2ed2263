"""easy-VQA over a tiny copy of its folder: 12 training and 4 test images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from inbol.contracts import Outcome
from inbol.sources.degrade import Level
from inbol.sources.easy_vqa import EasyVqa, asks_what_is_there, grade, image_key
from inbol.sources.images import decode_image
from inbol.sources.wordings import parse

COLORS = ("red", "green", "teal")
SIZES = {"pretrain": 6, "align-train": 3, "align-val": 2, "test": 3}
LEVELS = (Level(), Level(occlusion=0.5, noise=20))


@pytest.fixture
def source(tmp_path: Path) -> EasyVqa:
    """Image i is a circle in colour i mod 3; image 11 has one question, which leaves its colour open."""
    for part, count in (("train", 12), ("test", 4)):
        (tmp_path / part / "images").mkdir(parents=True)
        records = []
        for number in range(count):
            Image.new("RGB", (64, 64), (number, 0, 0)).save(tmp_path / part / "images" / f"{number}.png")
            color = COLORS[number % 3]
            records += [
                ["what color is the shape?", color, number],
                ["is there a teal shape?", "yes" if color == "teal" else "no", number],
                ["is there not a circle?", "no", number],
                ["what shape is present?", "circle", number],
            ]
        if part == "train":
            records = records[:-4] + [["is there a red shape?", "no", 11]]
        (tmp_path / part / "questions.json").write_text(json.dumps(records))
    return EasyVqa(seed=1, sizes=SIZES, levels=LEVELS, paraphrase_share=0.5, root=tmp_path)


def _samples(source: EasyVqa, split: str) -> list:
    return [source.build(split, key) for key in source.splits()[split]]


def test_the_splits_are_disjoint_and_of_the_asked_sizes(source: EasyVqa) -> None:
    splits = source.splits()
    assert {split: len(keys) for split, keys in splits.items()} == SIZES
    keys = [key for names in splits.values() for key in names]
    assert len(set(keys)) == 14
    assert splits["test"] == [image_key("test", number) for number in range(3)]
    assert all("-train-" in key for split in ("pretrain", "align-train", "align-val") for key in splits[split])
    assert splits != replace(source, seed=2).splits()


def test_too_many_images_are_refused(source: EasyVqa) -> None:
    with pytest.raises(ValueError, match=r"12 training and 4 test images; asked for 15 \(6 pretrain"):
        replace(source, sizes=SIZES | {"align-train": 7}).splits()
    with pytest.raises(ValueError, match="5 test"):
        replace(source, sizes={"test": 5}).splits()


def test_withheld_colours_never_occur_in_pretrain(source: EasyVqa) -> None:
    """Of 12 images, 4 are teal: 2, 5, 8 say so, 11 leaves it open; all four go, and so does the question about teal."""
    source = replace(source, sizes={"pretrain": 12}, withheld_colors=("teal",))
    samples = _samples(source, "pretrain")
    assert sorted(int(sample.key[-5:]) for sample in samples) == [0, 1, 3, 4, 6, 7, 9, 10]
    for sample in samples:
        assert sum(not asks_what_is_there(question) for question in sample.questions) == 3
        assert all("teal" not in question.text and "teal" not in question.answers for question in sample.questions)
    assert len(_samples(replace(source, sizes={"align-train": 12}), "align-train")) == 12
    with pytest.raises(ValueError, match="mauve is no easy-VQA colour"):
        replace(source, withheld_colors=("mauve",))


def test_meta_and_stored_image_follow_the_level(source: EasyVqa) -> None:
    samples = [(split, sample) for split in SIZES for sample in _samples(source, split)]
    assert {sample.meta["level"] for _, sample in samples} == {0, 1}
    for split, sample in samples:
        assert (sample.meta["shape"], sample.meta["color"] != "") in (("circle", True), ("", False))
        part, number = sample.key.removeprefix("easy-vqa-").split("-")
        original = source.root / part / "images" / f"{int(number)}.png"
        clean = split == "pretrain" or sample.meta["level"] == 0
        assert (sample.image == original.read_bytes()) == clean
        assert decode_image(sample.image).size == (64, 64)
        assert sample.meta["degradation"] == {
            "occlusion": 0.5 * sample.meta["level"],
            "noise": 20 * sample.meta["level"],
            "blur": 0,
            "contrast": 1,
        }


def test_questions_keep_key_answer_kind_and_meaning(source: EasyVqa) -> None:
    for split in SIZES:
        for sample in _samples(source, split):
            seen = [question for question in sample.questions if question.wording == "seen"]
            if len(seen) == 4:
                assert [question.key for question in seen] == [f"{sample.key}-q{number:02d}" for number in range(4)]
                assert [question.kind for question in seen] == ["color", "yes/no", "yes/no", "shape"]
                # the two what-questions may name what the image shows
                color, has_color, no_shape, shape = (question.template for question in seen)
                assert (has_color, no_shape) == ("has-color", "no-shape")
                assert color in ("what-color", "what-color-of-shape")
                assert shape in ("what-shape", "what-shape-of-color")
                assert seen[2].answers == ("no",)
                assert seen[3].answers == ("circle",)
            for question in sample.questions:
                assert parse(question.text).name == question.template
                if question.template in ("what-shape-of-color", "what-color-of-shape"):  # the premise is true of the image
                    named = parse(question.text)
                    assert (named.color or sample.meta["color"], named.shape or sample.meta["shape"]) == (
                        sample.meta["color"],
                        sample.meta["shape"],
                    )


def test_unseen_wordings_are_extra_copies_in_evaluation_splits_alone(source: EasyVqa) -> None:
    """A third of 4 questions is 1.33: one copy each."""
    for split in SIZES:
        for sample in _samples(source, split):
            unseen = [question for question in sample.questions if question.wording == "unseen"]
            assert len(unseen) == (1 if split in ("align-val", "test") else 0)
            seen = {question.key: question for question in sample.questions if question.wording == "seen"}
            for question in unseen:
                twin = seen[question.key.removesuffix("-u")]
                assert question.key.endswith("-u")
                assert question.answers == twin.answers
                assert question.text != twin.text
                assert parse(question.text).kind == parse(twin.text).kind


def test_yes_no_questions_are_limited_outside_pretrain(source: EasyVqa) -> None:
    """Two of an image's four questions are yes/no; with a limit of one, three stay, and the same one is dropped each time."""
    limited = replace(source, yes_no_per_image=1)
    for split in SIZES:
        for full, sample in zip(_samples(source, split), _samples(limited, split), strict=True):
            yes_no = [question for question in sample.questions if question.kind == "yes/no" and question.wording == "seen"]
            before = [question for question in full.questions if question.kind == "yes/no" and question.wording == "seen"]
            assert len(yes_no) == (len(before) if split == "pretrain" else min(1, len(before)))
            assert [question.key for question in sample.questions if question.kind != "yes/no" and question.wording == "seen"] == [
                question.key for question in full.questions if question.kind != "yes/no" and question.wording == "seen"
            ]


def test_the_paraphrase_share_changes_wordings_alone(source: EasyVqa) -> None:
    none, every = (_samples(replace(source, paraphrase_share=share), "align-train") for share in (0.0, 1.0))
    originals = {text for text, *_ in json.loads((source.root / "train" / "questions.json").read_text())}
    assert len(none) == 3
    for plain, reworded in zip(none, every, strict=True):
        assert plain.image == reworded.image
        second = [question for question in plain.questions if question.key.endswith("-w")]  # these are reworded whatever the share
        assert [question.kind for question in second] == [q.kind for q in plain.questions if q.kind != "yes/no" and q not in second]
        assert all((question.text in originals) != (question in second) for question in plain.questions)
        assert not any(question.text in originals for question in reworded.questions)


def test_pretrain_also_asks_about_what_is_there(source: EasyVqa) -> None:
    """Four yes/no questions where colour and shape are known: has and no, colour and shape; their answers are yes, no, yes, no."""
    for split in SIZES:
        for sample in _samples(source, split):
            added = [question for question in sample.questions if asks_what_is_there(question)]
            known = 2 * bool(sample.meta["color"]) + 2 * bool(sample.meta["shape"])
            assert len(added) == (known if split == "pretrain" else 0)
            for question in added:
                meaning = parse(question.text)
                assert question.answers == ("no" if meaning.negated else "yes",)
                assert (meaning.color or sample.meta["color"], meaning.shape or sample.meta["shape"]) == (
                    sample.meta["color"],
                    sample.meta["shape"],
                )


def test_second_wordings_name_what_is_there(source: EasyVqa) -> None:
    """Else a question that names a shape or a colour is mostly a false premise in training, and naming alone would call for a refusal."""
    for sample in _samples(source, "align-train"):
        templates = {question.template for question in sample.questions if question.key.endswith("-w")}
        named = {"color": "what-shape-of-color", "shape": "what-color-of-shape"}
        assert {template for attribute, template in named.items() if sample.meta[attribute]} <= templates
        assert not (sample.meta["color"] and "what-shape" in templates) and not (sample.meta["shape"] and "what-color" in templates)


def test_building_twice_gives_equal_samples(source: EasyVqa) -> None:
    assert _samples(source, "test") == list(reversed([replace(source).build("test", key) for key in reversed(source.splits()["test"])]))


def test_grading(source: EasyVqa) -> None:
    question = _samples(source, "test")[0].questions[3]
    assert grade(question, "circle") == Outcome.CORRECT
    assert grade(question, "triangle") == Outcome.WRONG


def test_the_installed_data_set_has_only_known_templates() -> None:
    pytest.importorskip("easy_vqa")
    source = EasyVqa(seed=0, sizes={"test": 1})
    assert (len(source._raw["train"]), len(source._raw["test"])) == (4000, 1000)
    texts = {text for images in source._raw.values() for raw in images.values() for text, _ in raw}
    assert len({parse(text) for text in texts}) == 1 + 8 + 1 + 3 + 8 + 3 + 8 + 3
