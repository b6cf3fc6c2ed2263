"""Pictures on one sheet."""

from __future__ import annotations

import pytest
from PIL import Image

from inbol.reporting.contact_sheet import CAPTION, CELL, contact_sheet


def test_a_sheet_has_a_cell_for_each_picture() -> None:
    """8 pictures make 2 rows of 6 cells; the middle of a cell shows its picture, and of an empty one nothing."""
    sheet = contact_sheet(
        [(f"k{n}: what is this, a very long question indeed?", Image.new("RGB", (30, 20), (10 * n, 0, 0))) for n in range(8)]
    )
    assert sheet.size == (6 * CELL, 2 * (CELL + CAPTION))
    assert sheet.getpixel((CELL * 3 + CELL // 2, CELL // 2)) == (30, 0, 0)
    assert sheet.getpixel((CELL + CELL // 2, CELL + CAPTION + CELL // 2)) == (70, 0, 0)
    assert sheet.getpixel((CELL * 4 + CELL // 2, CELL + CAPTION + CELL // 2)) == (255, 255, 255)
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])
