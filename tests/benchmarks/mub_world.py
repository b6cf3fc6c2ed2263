"""MUB files as published, made by the tests: arrays, repetitions, an end in the middle of a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def record(number: int, **changes: Any) -> dict[str, Any]:
    """One multiple-choice record of the low tier with a wrong hint, three misleading notes and two helpful ones."""
    return {
        "question": f"What is <image 1> number {number}?",
        "choices": {"B": "a tower", "A": "a bell", "C": "a tomb"},
        "answer": "B",
        "response": -2,
        "all_category": "Art",
        "question_correction": "TF",
        "model": "phi3-vision-128k-instruct",
        "question_type_CHorYN": "CH",
        "guide": "And the true answer is : C",
        "dataset": "MMMU",
        "num": 6,
        "new_id": f"extract_img_all/{number}.jpg",
        "closed_model_response_T": "It rings. /// It is high.",
        "closed_model_response_F": "1. It is a grave.\n///\n2. Nobody climbs it. ///\n3. It is old. ///",
        **changes,
    }


def yes_no(number: int, **changes: Any) -> dict[str, Any]:
    out = record(number, question_type_CHorYN="YN", answer="No", guide="And the true answer is : Yes", question="Is it old?", dataset="MME")
    del out["choices"]
    return {**out, **changes}


def write(folder: Path, name: str, records: list[dict[str, Any]], *, repeat: int = 3, cut: int = 0, images: bool = True) -> Path:
    """The file with every record `repeat` times, its last `cut` bytes missing, and a picture for every record."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps([r for r in records for _ in range(repeat)], indent=2, ensure_ascii=False).encode()
    path.write_bytes(data[: len(data) - cut])
    for one in records if images else ():
        picture = folder / one["new_id"]
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(picture)
    return path
