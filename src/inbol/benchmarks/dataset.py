"""A benchmark's items as records and shards, so that the stage `predict` can answer them like any other question."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from inbol.benchmarks.base import BenchmarkItem
from inbol.contracts import UNSHOWN, Question, VqaSample
from inbol.shards.codec import check_key
from inbol.shards.images import probe_image, shrink

SPLIT = "test"
"""Of the shards: a benchmark is touched by evaluation alone."""
BLANK = (64, 64)
"""Size in pixels of what stands in a shard for no picture; no model sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRecord:
    """One item, as the stage `benchmark_data` hands it on."""

    key: str
    image_key: str
    """Of the sample in the shards; items about one picture, or variants of one question about none, share it."""
    image: str
    """The picture's file, relative to the benchmark's folder; empty for none."""
    prompt: str
    group: str
    gold: dict[str, Any] = field(default_factory=dict)

    def item(self) -> BenchmarkItem:
        """What grading reads."""
        return BenchmarkItem(
            key=self.key, image=Path(self.image) if self.image else None, prompt=self.prompt, group=self.group, gold=self.gold
        )


def to_records(items: Sequence[BenchmarkItem], folder: Path) -> list[BenchmarkRecord]:
    """The items with the key of their picture, numbered in the order in which the pictures come up.

    Raises:
        ValueError: no items, a key that occurs twice or could not be one, or an empty prompt.
    """
    if not items:
        raise ValueError(f"{folder}: the benchmark has no items")
    keys: set[str] = set()
    images: dict[tuple[str, str], str] = {}
    records = []
    for item in items:
        check_key(item.key)
        if item.key in keys:
            raise ValueError(f"{folder}: two items have the key {item.key!r}")
        if not item.prompt.strip():
            raise ValueError(f"{folder}: item {item.key!r} asks nothing")
        keys.add(item.key)
        group = item.group or item.key
        shown = ("image", str(item.image)) if item.image else ("none", group)
        image_key = images.setdefault(shown, f"{shown[0]}-{len(images):07d}")
        image = item.image.relative_to(folder).as_posix() if item.image else ""
        records.append(BenchmarkRecord(key=item.key, image_key=image_key, image=image, prompt=item.prompt, group=group, gold=item.gold))
    return records


def to_samples(records: Sequence[BenchmarkRecord], folder: Path, *, name: str, max_pixels: int = 0) -> Iterator[VqaSample]:
    """One sample for each picture with all that is asked about it, in the order of the pictures; prompts are the questions' texts.

    Args:
        max_pixels: larger pictures are made smaller in proportion; 0 leaves all as they are.

    Raises:
        ValueError: a file that is no PNG, JPEG or WebP image; names it.
    """
    asked: dict[str, list[BenchmarkRecord]] = {}
    for record in records:
        asked.setdefault(record.image_key, []).append(record)
    for image_key, group in asked.items():
        data, image_format = _encoded(folder / group[0].image, max_pixels) if group[0].image else (_blank(), "png")
        yield VqaSample(
            key=image_key,
            image=data,
            image_format=image_format,
            split=SPLIT,
            source=name,
            questions=tuple(
                Question(key=record.key, image_key=image_key, text=record.prompt, answerable=False, kind=name) for record in group
            ),
            meta={"level": 0} if group[0].image else {"level": 0, UNSHOWN: True},
        )


def _encoded(path: Path, max_pixels: int) -> tuple[bytes, str]:
    data = path.read_bytes()
    try:
        return shrink(data, max_pixels) if max_pixels else (data, probe_image(data)[0])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", BLANK, (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()
