"""What the page shows, as HTML. Everything from a model, a data set or a person is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import jinja2
from PIL import Image

from inbol.contracts import Question
from inbol.demo.ask import Said

SCALE = 10.0
"""Nats at either end of the margin's bar."""
SHOWN = 640
"""Pixels of the longer side of the image as the page shows it; the model sees the whole image."""


def reply(said: Sequence[Said], known: Question | None = None) -> str:
    """The responses side by side."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(Path(__file__).with_name("reply.html").read_text(encoding="utf-8"))
    return template.render(replies=said, known=known, scale=SCALE)


def picture(image: Image.Image, *, alt: str) -> str:
    """The image as an `img`, encoded anew from its pixels; small ones are not blurred."""
    shown = image.copy()
    shown.thumbnail((SHOWN, SHOWN))
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG")
    address = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    crisp = " crisp" if max(image.size) <= 128 else ""
    size = f"{image.width} x {image.height} pixels"
    return f'<div class="picture{crisp}"><img src="{address}" alt="{escape(alt)}"></div><p class="size">{size}</p>'


def problem(text: object) -> str:
    """A mistake, as a box."""
    return f'<div class="problem" role="alert">{escape(str(text))}</div>'


def choice(question: Question) -> str:
    """A question as one line of a list."""
    about = ", ".join(question.answers[:2]) if question.answerable else f"beyond the image: {question.kind}"
    return f"{question.text}  —  {about}"
