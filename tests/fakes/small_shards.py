"""Small shards of every kind: right ones, foreign ones, and tars written member by member."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from inbol.contracts import Question, VqaSample


def png(color: int = 0, size: tuple[int, int] = (8, 6)) -> bytes:
    """A small PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (color % 256, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def sample(number: int, split: str = "test", *, name: str = "") -> VqaSample:
    """One image with one question, in this project's format."""
    key = f"{name or split}-{number}"
    question = Question(key=f"{key}-q00", image_key=key, text="what?", answers=("x",))
    return VqaSample(key=key, image=png(number), image_format="png", split=split, source="s", questions=(question,), meta={"level": 0})


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """A tar of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def record(question: str = "what?", answer: str = "x", **more: Any) -> bytes:
    """A foreign sample's `.json`."""
    return json.dumps({"question": question, "answer": answer, **more}).encode()


def foreign(keys: Sequence[str], **more: Any) -> list[tuple[str, bytes]]:
    """Members of foreign samples."""
    return [member for n, key in enumerate(keys) for member in ((f"{key}.png", png(n)), (f"{key}.json", record(**more)))]
