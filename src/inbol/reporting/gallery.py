"""Sixteen examples for the page, drawn by a rule that knows neither answers nor outcomes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inbol.contracts import Graded
from inbol.evaluation.items import Items

RULE = "images drawn at random (seeded) in turn from every degradation level; from each, one answerable question and one beyond the image"


@dataclass(frozen=True, slots=True)
class Answer:
    """One system's response."""

    label: str
    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with every system's response."""

    text: str
    answers: tuple[str, ...]
    """Accepted ones; empty beyond the image."""
    kind: str
    wording: str
    confidence: float | None
    """The base's c; None beyond the image."""
    responses: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One image with its questions."""

    image_key: str
    level: int
    image: str
    """data: address of the image; empty when images are not at hand."""
    asked: tuple[Asked, ...]


def choose(items: Items, *, count: int, seed: int) -> list[tuple[str, list[str]]]:
    """(image key, question keys) of `count` examples, or of all images when there are fewer; see `RULE`."""
    rng = np.random.default_rng(seed)
    level_of = {int(image): int(level) for image, level in zip(items.image, items.level)}
    queues = {level: [i for i in level_of if level_of[i] == level] for level in sorted(set(level_of.values()))}
    for queue in queues.values():
        rng.shuffle(queue)
    chosen: list[tuple[str, list[str]]] = []
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < count:
                image = queue.pop()
                keys = []
                for side in (items.answerable, ~items.answerable):
                    there = np.flatnonzero((items.image == image) & side)
                    if len(there):
                        keys.append(items.keys[int(rng.choice(there))])
                chosen.append((items.images[image], keys))
    return chosen


def examples(
    chosen: Sequence[tuple[str, list[str]]], graded: Mapping[str, Mapping[str, Graded]], images: Mapping[str, bytes]
) -> list[Example]:
    """The chosen examples with every system's responses.

    Args:
        graded: by printed name of the system, then by question key.
        images: encoded images by key; may lack some.
    """
    first = next(iter(graded.values()))
    out = []
    for image_key, keys in chosen:
        asked = []
        for key in keys:
            row = first[key]
            responses = tuple(Answer(label, rows[key].text, rows[key].outcome.value) for label, rows in graded.items())
            confidence = row.confidence if row.answerable else None
            asked.append(Asked(row.question, row.answers, row.kind, row.wording, confidence, responses))
        image = data_address(images[image_key]) if image_key in images else ""
        out.append(Example(image_key, first[keys[0]].level, image, tuple(asked)))
    return out


def data_address(image: bytes) -> str:
    """The image as a `data:` address; its type is read off its first bytes."""
    kind = "png" if image.startswith(b"\x89PNG") else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
