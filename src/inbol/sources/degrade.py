"""Takes information out of images, so that some questions cannot be answered better than by chance from what is left."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

GRID = 8
"""Cells a side of the occlusion grid."""
GREY = 128
"""Grey value of an occluded cell, and the centre of the contrast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One degradation level; the default leaves the image as it is."""

    occlusion: float = 0.0
    """Share of the 8x8 grid's cells replaced by mid-grey, in [0, 1]."""
    noise: float = 0.0
    """Standard deviation of the Gaussian pixel noise, in grey values of 255."""
    blur: float = 0.0
    """Radius of the Gaussian blur, in pixels."""
    contrast: float = 1.0
    """Factor of the contrast around mid-grey, in [0, 1]."""


def degrade(image: Image.Image, *, occlusion: float, noise: float, blur: float, contrast: float, rng: np.random.Generator) -> Image.Image:
    """A degraded copy of an RGB image: blur, contrast, noise, then occlusion, in this order; units as in `Level`.

    Exactly round(64 * occlusion) cells of the 8x8 grid are covered, drawn without replacement.

    Raises:
        ValueError: the image is not RGB, or a value is out of range.
    """
    if image.mode != "RGB":
        raise ValueError(f"degrade needs an RGB image, got mode {image.mode!r}")
    if not (0 <= occlusion <= 1 and noise >= 0 and blur >= 0 and 0 <= contrast <= 1):
        raise ValueError(f"degradation out of range: {occlusion=} in [0, 1], {noise=} >= 0, {blur=} >= 0, {contrast=} in [0, 1]")
    if blur > 0:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    pixels = np.asarray(image, dtype=np.float32)
    pixels = GREY + contrast * (pixels - GREY)
    if noise > 0:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * noise
    result = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    rows = np.rint(np.linspace(0, image.height, GRID + 1)).astype(int)
    columns = np.rint(np.linspace(0, image.width, GRID + 1)).astype(int)
    for cell in rng.choice(GRID * GRID, size=round(GRID * GRID * occlusion), replace=False):
        row, column = divmod(int(cell), GRID)
        result[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = GREY
    return Image.fromarray(result)


def degraded_png(image: Image.Image, level: Level, rng: np.random.Generator) -> bytes:
    """`degrade` at `level`, encoded as PNG."""
    buffer = io.BytesIO()
    degrade(image, **asdict(level), rng=rng).save(buffer, format="PNG")
    return buffer.getvalue()


def level_meta(levels: tuple[Level, ...], number: int) -> dict[str, Any]:
    """What a sample's `meta` says about its level: `level` (its number) and `degradation` (the arguments of `degrade` but the stream)."""
    return {"level": number, "degradation": asdict(levels[number])}
