"""Images from untrusted bytes."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from inbol.shards.images import decode_image, probe_image


def _encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_decoded_to_rgb(form: str) -> None:
    data = _encode(Image.new("RGB", (5, 3), (255, 0, 0)), form)
    assert probe_image(data) == (form.lower(), 5, 3)
    image = decode_image(data)
    assert (image.mode, image.size) == ("RGB", (5, 3))


def test_grey_and_transparent_images_become_rgb() -> None:
    for mode in ("L", "RGBA", "P", "1"):
        assert decode_image(_encode(Image.new(mode, (2, 2)), "PNG")).mode == "RGB"


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG, JPEG or WebP"):
        decode_image(data)


def test_other_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="not a PNG, JPEG or WebP"):
        decode_image(_encode(Image.new("RGB", (2, 2)), "BMP"))


def test_a_large_image_is_refused_by_its_header() -> None:
    """A PNG of 69 bytes that claims 60000 x 60000 pixels (10.8 GB as RGB) is refused without being decoded."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="too large"):
        decode_image(bomb)
    with pytest.raises(ValueError, match="5 x 3 pixels, at most 14"):
        decode_image(_encode(Image.new("RGB", (5, 3)), "PNG"), max_pixels=14)


def test_a_cut_image_is_refused() -> None:
    data = _encode(Image.effect_noise((40, 40), 90).convert("RGB"), "PNG")
    with pytest.raises(ValueError, match="damaged PNG image of 40 x 40"):
        decode_image(data[: len(data) // 2])
