"""Samples of one coloured shape each, without the raw data set: for whatever writes tiny benchmarks."""

from __future__ import annotations

import io

from PIL import Image

from inbol.contracts import Question, VqaSample

SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("red", "green", "blue", "black")


def shape_sample(number: int) -> VqaSample:
    """One picture with a colour question and a yes/no question."""
    shape, color, key = SHAPES[number % 3], COLORS[number % 4], f"shape-{number}"
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(buffer, format="PNG")
    questions = (
        Question(key=f"{key}-q00", image_key=key, text="what color is the shape?", answers=(color,), kind="color"),
        Question(key=f"{key}-q01", image_key=key, text=f"is there a {shape}?", answers=("yes",), kind="yes/no"),
    )
    meta = {"level": 0, "shape": shape, "color": color}
    return VqaSample(key=key, image=buffer.getvalue(), image_format="png", split="test", source="fake", questions=questions, meta=meta)


def shape_samples(count: int) -> list[VqaSample]:
    """So many pictures."""
    return [shape_sample(number) for number in range(count)]


def write_png(path: object, size: int = 8) -> None:
    """A picture file at `path`."""
    Image.new("RGB", (size, size)).save(str(path))
