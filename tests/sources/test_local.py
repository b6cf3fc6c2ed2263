"""Your own folder: what is right is read, everything that is wrong is told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inbol.contracts import Outcome
from inbol.sources.degrade import Level
from inbol.sources.local import LocalSource, grade

SIZES = {"pretrain": 0, "align-train": 600, "align-val": 100, "test": 300}


def _folder(path: Path, records: list[Any], images: tuple[str, ...] = ()) -> LocalSource:
    path.mkdir(exist_ok=True)
    for number, name in enumerate(images):
        (path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path / name)
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (path / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return LocalSource(folder=path, sizes=SIZES)


def _line(image: str, **fields: Any) -> dict[str, Any]:
    return {"image": image, "question": "what?", "answers": ["a cup", "cup"]} | fields


def test_questions_are_grouped_by_image(tmp_path: Path) -> None:
    records = [
        _line("in/a.png", split="test"),
        _line("b.jpg", split="align-train", id="my-1", kind="object"),
        {"image": "in/a.png", "question": "why?", "answer": "so", "split": "test"},
        _line("b.jpg", split="align-train", answers=[], answerable=False, kind="vague"),
    ]
    source = _folder(tmp_path, records, ("in/a.png", "b.jpg"))
    assert source.splits() == {"pretrain": [], "align-train": ["b-jpg"], "align-val": [], "test": ["in-a-png"]}
    a, b = source.build("test", "in-a-png"), source.build("align-train", "b-jpg")
    assert (a.image, a.image_format, a.source) == ((tmp_path / "in/a.png").read_bytes(), "png", "local")
    assert [(q.key, q.text, q.answers) for q in a.questions] == [
        ("in-a-png-q00", "what?", ("a cup", "cup")),
        ("in-a-png-q01", "why?", ("so",)),
    ]
    assert [(q.key, q.kind, q.answerable, q.image_key) for q in b.questions] == [
        ("my-1", "object", True, "b-jpg"),
        ("b-jpg-q01", "vague", False, "b-jpg"),
    ]
    assert (b.image_format, b.meta["level"]) == ("jpeg", 0)
    assert grade(a.questions[0], "cup") == Outcome.CORRECT


def test_images_without_a_split_are_shared_out_in_proportion(tmp_path: Path) -> None:
    """20 images at 600 : 100 : 300 make 12, 2 and 6."""
    names = tuple(f"{number}.png" for number in range(20))
    source = _folder(tmp_path, [_line(name) for name in names], names)
    splits = source.splits()
    assert {split: len(keys) for split, keys in splits.items()} == {"pretrain": 0, "align-train": 12, "align-val": 2, "test": 6}
    assert len({key for keys in splits.values() for key in keys}) == 20
    assert splits == source.splits() != LocalSource(folder=tmp_path, sizes=SIZES, seed=1).splits()
    with pytest.raises(ValueError, match="20 images have no split and all split sizes are 0"):
        LocalSource(folder=tmp_path, sizes={}).splits()


def test_levels_degrade_all_but_pretrain(tmp_path: Path) -> None:
    _folder(tmp_path, [_line("a.png", split="test")], ("a.png",))
    source = LocalSource(folder=tmp_path, sizes=SIZES, levels=(Level(occlusion=1.0),))
    original = (tmp_path / "a.png").read_bytes()
    assert source.build("pretrain", "a-png").image == original != source.build("test", "a-png").image


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"image": "a.png", "question', "not valid JSON"),
        ("[1]", "must be a JSON object, got list"),
        (_line("gone.png"), "image 'gone.png' does not exist"),
        (_line("../a.png"), "lies outside"),
        (_line("/etc/hostname"), "lies outside"),
        (_line("link.png"), "lies outside"),
        (_line("text.png"), "'text.png': not a PNG, JPEG or WebP image"),
        (_line("a-png"), "same key 'a-png'"),
        (_line("a.png", answers="cup"), "answers must be of type list"),
        (_line("a.png", answers=[""]), "answers must be texts"),
        (_line("a.png", answers=[]), "lacks answers"),
        (_line("a.png", answer="cup"), "both answer and answers"),
        (_line("a.png", answerable=False), "answerable is false, but there are answers"),
        (_line("a.png", answers=[], answerable=False), "must be one of false-premise"),
        (_line("a.png", question=" "), "lacks question"),
        (_line("a.png", split="train"), "split 'train' is not one of"),
        (_line("a.png", split="test"), "in several splits: none, test"),
        (_line("a.png", id="a/b"), "only letters"),
        (_line("a.png", id="first"), "id 'first' was used before, on line 1"),
        (_line("a.png", lable=1), "unknown field lable"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, record: Any, message: str) -> None:
    folder = tmp_path / "data"
    source = _folder(folder, [_line("a.png", id="first"), record], ("a.png",))
    (folder / "text.png").write_text("hello")
    Image.new("RGB", (2, 2)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(ValueError, match=message) as error:
        source.splits()
    assert "1 mistake in" in str(error.value)
    assert f"questions.jsonl:{1 if 'several' in message else 2}: " in str(error.value)


def test_all_mistakes_come_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="25 mistakes") as error:
        _folder(tmp_path, [_line(f"{number}.png") for number in range(25)]).splits()
    text = str(error.value)
    assert text.startswith("25 mistakes in")
    assert text.count("does not exist") == 20
    assert text.endswith("... and 5 more")


def test_an_empty_or_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        LocalSource(folder=tmp_path, sizes=SIZES).splits()
    with pytest.raises(ValueError, match="has no records"):
        _folder(tmp_path, [""]).splits()
