"""Degradations: exact where they can be, seeded where they are random."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from inbol.sources.degrade import Level, degrade, degraded_png, level_meta
from inbol.sources.seeding import stream

RED = Image.new("RGB", (64, 64), (200, 10, 30))
NONE = {"occlusion": 0.0, "noise": 0.0, "blur": 0.0, "contrast": 1.0}


def _pixels(seed: int = 0, image: Image.Image = RED, **values: float) -> np.ndarray:
    return np.asarray(degrade(image, **(NONE | values), rng=np.random.default_rng(seed))).astype(int)


def test_nothing_asked_leaves_the_image() -> None:
    assert (_pixels() == np.asarray(RED)).all()


@pytest.mark.parametrize(("share", "cells"), [(0.25, 16), (0.5, 32), (0.3, 19), (1.0, 64)])
def test_occlusion_covers_the_exact_number_of_cells(share: float, cells: int) -> None:
    """0.3 of 64 cells is 19.2: 19 cells of 8 x 8 pixels."""
    pixels = _pixels(occlusion=share)
    grey = (pixels == 128).all(axis=2)
    assert grey.sum() == cells * 64
    blocks = grey.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    assert set(np.unique(blocks)) <= {0.0, 1.0}
    assert (pixels[~grey] == (200, 10, 30)).all()


def test_contrast_shrinks_towards_grey() -> None:
    """128 + 0.5 (200 - 128) = 164, 128 + 0.5 (10 - 128) = 69, 128 + 0.5 (30 - 128) = 79."""
    assert (_pixels(contrast=0.5) == (164, 69, 79)).all()
    assert (_pixels(contrast=0.0) == 128).all()


def test_noise_has_the_stated_deviation() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    assert _pixels(image=grey, noise=10.0).std() == pytest.approx(10, rel=0.05)


def test_blur_spreads_an_edge() -> None:
    edge = Image.new("RGB", (64, 64))
    edge.paste((255, 255, 255), (32, 0, 64, 64))
    row = _pixels(image=edge, blur=2.0)[32, :, 0]
    assert 0 < row[31] < 128 < row[32] < 255
    assert row[0] == 0
    assert row[63] == 255


def test_equal_streams_give_equal_bytes() -> None:
    level = Level(occlusion=0.4, noise=20, blur=1, contrast=0.7)
    first = degraded_png(RED, level, stream(1, "image"))
    assert first == degraded_png(RED, level, stream(1, "image"))
    assert first != degraded_png(RED, level, stream(1, "other"))
    assert level_meta((Level(), level), 1) == {"level": 1, "degradation": {"occlusion": 0.4, "noise": 20, "blur": 1, "contrast": 0.7}}


def test_sizes_that_eight_does_not_divide_are_covered_whole() -> None:
    assert (_pixels(image=Image.new("RGB", (13, 30)), occlusion=1.0) == 128).all()


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="mode 'L'"):
        degrade(Image.new("L", (8, 8)), **NONE, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"occlusion=1\.5"):
        _pixels(occlusion=1.5)
