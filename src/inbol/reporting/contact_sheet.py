"""Many small pictures on one: what data look like, at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

COLUMNS = 6
CELL = 190
"""Pixels of a cell's side; the picture takes it but for a margin, the caption stands below."""
CAPTION = 44
MARGIN = 8


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """A grid of pictures with captions of at most three lines.

    Raises:
        ValueError: there are no pictures.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * (CELL + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=11)
    for number, (caption, picture) in enumerate(pictures):
        row, column = divmod(number, columns)
        x, y = column * CELL, row * (CELL + CAPTION)
        side = CELL - 2 * MARGIN
        factor = min(side / picture.width, side / picture.height)
        shown = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
        sheet.paste(shown, (x + (CELL - shown.width) // 2, y + MARGIN + (side - shown.height) // 2))
        for line, text in enumerate(_wrapped(caption, draw, font, side)[:3]):
            draw.text((x + MARGIN, y + CELL - MARGIN + 13 * line), text, fill="black", font=font)
    return sheet


def _wrapped(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines that are not wider than `width` pixels; a longer word is cut."""
    lines = [""]
    for word in text.split():
        while draw.textlength(word, font=font) > width:
            word = word[:-2]
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
