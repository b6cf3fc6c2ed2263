"""Encoded bytes to pixels, with the header checked before any pixel is decoded."""

from __future__ import annotations

import io
import warnings

from PIL import Image

IMAGE_FORMATS = ("png", "jpg", "jpeg", "webp")
"""Extensions of an image member or file."""
_PIL_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64 * 2**20
"""Default limit; 8192 x 8192 pixels make 192 MiB as RGB."""


def probe_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[str, int, int]:
    """(format, width, height) from the header alone; the format is `png`, `jpeg` or `webp`.

    Raises:
        ValueError: not such an image, or more than `max_pixels` pixels.
    """
    image = _open(data, max_pixels)
    return str(image.format).lower(), image.width, image.height


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image as RGB.

    Raises:
        ValueError: not a PNG, JPEG or WebP image; more than `max_pixels` pixels (known before decoding); damaged pixel data.
    """
    image = _open(data, max_pixels)
    try:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's decoders raise all three for damaged data
        raise ValueError(f"damaged {image.format} image of {image.width} x {image.height} pixels: {error}") from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is the caller's own
            image = Image.open(io.BytesIO(data), formats=_PIL_FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"image is too large: {error}") from None
    except (OSError, ValueError, SyntaxError):
        raise ValueError(f"not a PNG, JPEG or WebP image ({len(data)} bytes, starts with {data[:8]!r})") from None
    if image.width * image.height > max_pixels:
        raise ValueError(f"image is too large: {image.width} x {image.height} pixels, at most {max_pixels} are decoded")
    return image


def shrink(data: bytes, max_pixels: int) -> tuple[bytes, str]:
    """(encoded image of at most `max_pixels` pixels, its format), made smaller in proportion; PNG stays PNG, the rest becomes JPEG.

    An image that is small enough is returned as it is. Raises ValueError as `decode_image`.
    """
    image_format, width, height = probe_image(data)
    if width * height <= max_pixels:
        return data, image_format
    factor = (max_pixels / (width * height)) ** 0.5
    size = max(1, int(width * factor)), max(1, int(height * factor))
    smaller = decode_image(data).resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if image_format == "png":
        smaller.save(buffer, format="PNG")
    else:
        smaller.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue(), "png" if image_format == "png" else "jpeg"
