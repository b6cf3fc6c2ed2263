from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from inbol.config.data import ALTERATIONS as CONFIGURED
from inbol.sources.alter import ALTERATIONS, alter


def test_alterations_keep_the_size_and_take_the_content() -> None:
    """51 of 64 cells of 4 x 4 pixels are grey: 816 of 1024 pixels."""
    image = Image.new("RGB", (32, 32), (220, 30, 30))
    blank, occluded = (np.asarray(alter(image, kind, "k")) for kind in ("blank", "occluded"))
    assert blank.shape == occluded.shape == (32, 32, 3)
    assert (blank == 128).all()
    assert (occluded == 128).all(axis=-1).sum() == 816
    assert (occluded == (220, 30, 30)).all(axis=-1).sum() == 208


def test_the_draw_follows_the_key() -> None:
    image = Image.new("RGB", (32, 32), (220, 30, 30))
    one, same, other = (alter(image, "occluded", key).tobytes() for key in ("a", "a", "b"))
    assert one == same != other
    assert ALTERATIONS == CONFIGURED
    with pytest.raises(ValueError, match="altered: 'crop' is not one of 'blank', 'occluded'"):
        alter(image, "crop", "a")
