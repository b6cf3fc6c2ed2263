"""Another image for the same question, with what the question is about taken out, so that a loss can ask what the image was good for."""

from __future__ import annotations

import numpy as np
from PIL import Image

from inbol.sources.degrade import GREY, degrade

ALTERATIONS = ("blank", "occluded")
OCCLUSION = 0.8
"""Share of the 8x8 grid that `occluded` covers."""


def alter(image: Image.Image, alteration: str, key: str) -> Image.Image:
    """An altered RGB copy of the same size, hence with as many image tokens; `key` seeds what is drawn.

    Args:
        alteration: `blank`: uniform grey. `occluded`: 51 of the 64 cells of a grid are grey.

    Raises:
        ValueError: an unknown alteration.
    """
    if alteration == "blank":
        return Image.new("RGB", image.size, (GREY, GREY, GREY))
    if alteration == "occluded":
        rng = np.random.default_rng(list(f"altered:{key}".encode()))
        return degrade(image.convert("RGB"), occlusion=OCCLUSION, noise=0, blur=0, contrast=1, rng=rng)
    raise ValueError(f"altered: {alteration!r} is not one of {', '.join(map(repr, ALTERATIONS))}")
