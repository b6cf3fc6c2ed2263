"""One sample to its two members and back; everything else is refused with the key named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from inbol.contracts import Question, VqaSample
from inbol.shards.codec import decode, encode

SAMPLE = VqaSample(
    key="a-1",
    image=b"\x89PNG...",
    image_format="png",
    split="test",
    source="s",
    questions=(Question(key="a-1-q00", image_key="a-1", text="what?", answers=("tree", "a tree"), kind="object"),),
    meta={"level": 2, "shape": ""},
)


def _members(sample: VqaSample) -> dict[str, bytes]:
    return {name.split(".", 1)[1]: data for name, data in encode(sample).items()}


def test_a_sample_survives_the_round_trip() -> None:
    assert list(encode(SAMPLE)) == ["a-1.png", "a-1.json"]
    assert decode("a-1", _members(SAMPLE)) == SAMPLE


@pytest.mark.parametrize("key", ["a.b", "a/b", "..", "", "a b", "a\n"])
def test_a_key_that_is_no_member_name_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no dots, no slashes"):
        encode(replace(SAMPLE, key=key, questions=()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_format": "pickle"}, "image format 'pickle'"),
        ({"split": "train"}, "split 'train' is not one of pretrain"),
        ({"image": b""}, "no bytes"),
        ({"key": "b"}, "asks about image 'a-1'"),
    ],
)
def test_a_wrong_sample_is_not_encoded(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(replace(SAMPLE, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"pyd": b""}, "unknown member .pyd"),
        ({"json": b"{}", "png": b"x", "jpg": b"x"}, "found .png, .jpg"),
        ({"json": b"{}"}, "found none"),
        ({"png": b"x"}, "lacks its .json"),
        ({"png": b"x", "json": b"{"}, "not valid JSON"),
        ({"png": b"x", "json": b"\xff\xfe\x00{"}, "not valid JSON"),
        ({"png": b"x", "json": b"[]"}, "must be an object"),
        ({"png": b"x", "json": b"{}"}, "lacks questions, source, split"),
        ({"png": b"x", "json": b'{"key": "b"}'}, "must not have key"),
        ({"png": b"x", "json": json.dumps({"split": "t", "source": "s", "questions": []}).encode()}, "split 't'"),
    ],
)
def test_wrong_members_are_refused_and_the_key_named(members: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        decode("a-1", members)
    assert "'a-1'" in str(error.value)
