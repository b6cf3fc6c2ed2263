"""`VqaSample` <-> the members of one WebDataset sample: `<key>.<image format>` and `<key>.json`.

Shards are untrusted input: only these two members are decoded, a key is never used as a path, and nothing is unpickled.
"""

from __future__ import annotations

import json
import re
from typing import Any

from inbol.contracts import SPLITS, VqaSample, from_dict, to_json
from inbol.shards.images import IMAGE_FORMATS

_KEY = re.compile(r"[A-Za-z0-9_\-]+")


def check_key(key: str) -> None:
    """Refuse a key that could not be a member name. Raises ValueError: WebDataset splits names at the first dot, tar at slashes."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"sample key {key!r}: only letters, digits, '-' and '_' are allowed (no dots, no slashes)")


def encode(sample: VqaSample) -> dict[str, bytes]:
    """The members of `sample` by file name, image first.

    Raises:
        ValueError: a bad key, an unknown image format or split, no image bytes, or a question of another image.
    """
    check_key(sample.key)
    if sample.image_format not in IMAGE_FORMATS:
        raise ValueError(f"sample {sample.key!r}: image format {sample.image_format!r} is not one of {', '.join(IMAGE_FORMATS)}")
    if not sample.image:
        raise ValueError(f"sample {sample.key!r}: the image has no bytes")
    _check(sample)
    text = to_json({"split": sample.split, "source": sample.source, "questions": sample.questions, "meta": sample.meta})
    return {f"{sample.key}.{sample.image_format}": sample.image, f"{sample.key}.json": text.encode()}


def decode(key: str, members: dict[str, bytes]) -> VqaSample:
    """The sample `key` from its members by extension (`{"png": ..., "json": ...}`).

    Raises:
        ValueError: an unknown or a missing member, wrong JSON, or a record that is not a `VqaSample`; the message names the key.
    """
    check_key(key)
    if unknown := sorted(set(members) - {*IMAGE_FORMATS, "json"}):
        raise ValueError(f"sample {key!r}: unknown member .{', .'.join(unknown)}; a sample has one image and .json")
    images = [extension for extension in members if extension != "json"]
    if len(images) != 1:
        found = ", ".join(f".{extension}" for extension in images) or "none"
        raise ValueError(f"sample {key!r}: needs exactly one image member (.{', .'.join(IMAGE_FORMATS)}), found {found}")
    if "json" not in members:
        raise ValueError(f"sample {key!r}: lacks its .json member")
    try:
        raw: Any = json.loads(members["json"])
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ValueError(f"sample {key!r}: .json is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"sample {key!r}: .json must be an object, got {type(raw).__name__}")
    if clash := sorted({"key", "image", "image_format"} & set(raw)):
        raise ValueError(f"sample {key!r}: .json must not have {', '.join(clash)}; the member names give them")
    try:
        sample = from_dict(VqaSample, {**raw, "key": key, "image": members[images[0]], "image_format": images[0]})
    except (ValueError, TypeError) as error:
        raise ValueError(f"sample {key!r}: {error}") from None
    _check(sample)
    return sample


def _check(sample: VqaSample) -> None:
    if sample.split not in SPLITS:
        raise ValueError(f"sample {sample.key!r}: split {sample.split!r} is not one of {', '.join(SPLITS)}")
    for question in sample.questions:
        if question.image_key != sample.key:
            raise ValueError(f"sample {sample.key!r}: question {question.key!r} asks about image {question.image_key!r}")
