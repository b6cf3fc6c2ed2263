"""Writers of published data sets: a few small pictures in the files that the originals have, and fields that only the originals need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def pictures(folder: Path, names: Sequence[str], size: int = 8) -> None:
    """JPEG files, each in a grey of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), (8 * number % 256,) * 3).save(path)


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def coco(number: int, part: str = "") -> str:
    """Name of a COCO image: of 2014 with its part, of 2017 without."""
    return f"COCO_{part}_{number:012d}.jpg" if part else f"{number:012d}.jpg"


def ten(given: Sequence[str]) -> list[dict[str, Any]]:
    """Answers as VQAv2 has them."""
    return [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n, answer in enumerate(given, start=1)]


def vqav2(root: Path, part: str, asked: Mapping[int, Sequence[tuple[str, str, Sequence[str]]]], *, size: int = 8) -> None:
    """(question, answer type, ten answers) by image id; question ids are image id * 1000 + number, as in the original."""
    questions, annotations = [], []
    for image, rows in asked.items():
        for n, (text, kind, given) in enumerate(rows):
            ids = {"image_id": image, "question_id": image * 1000 + n}
            questions.append({**ids, "question": text})
            most = max(given, key=list(given).count)
            annotations.append({**ids, "question_type": "what", "multiple_choice_answer": most, "answers": ten(given), "answer_type": kind})
    info = {"info": {"version": "2.0"}, "license": {}, "data_type": "mscoco", "data_subtype": part}
    dump(root / f"v2_OpenEnded_mscoco_{part}_questions.json", {**info, "task_type": "Open-Ended", "questions": questions})
    dump(root / f"v2_mscoco_{part}_annotations.json", {**info, "annotations": annotations})
    pictures(root / part, [coco(image, part) for image in asked], size)


def gqa(root: Path, name: str, asked: Mapping[str, tuple[str, str, str]]) -> None:
    """(image id, question, answer) by question id."""
    rows = {
        number: {
            "imageId": image, "question": text, "answer": answer, "fullAnswer": f"It is {answer}.", "isBalanced": True,
            "groups": {"global": None, "local": None}, "semantic": [], "entailed": [], "equivalent": [number],
            "types": {"structural": "query", "semantic": "attr", "detailed": "color"},
        }
        for number, (image, text, answer) in asked.items()
    }  # fmt: skip
    dump(root / name, rows)
    pictures(root / "images", [f"{image}.jpg" for image, _, _ in asked.values()])


def aokvqa(root: Path, split: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with what differs; the rest is as in the original."""
    common = {
        "split": split, "question": "What is the man by the bags awaiting?", "choices": ["skateboarder", "train", "delivery", "cab"],
        "correct_choice_idx": 3, "difficult_direct_answer": False, "rationales": ["A train would not be on the street."],
        "direct_answers": ["ride", "ride", "bus", "taxi", "travelling", "traffic", "taxi", "cab", "taxi", "his ride"],
    }  # fmt: skip
    dump(root / f"aokvqa_v1p0_{split}.json", [{**common, **row} for row in rows])
    pictures(root / f"{split}2017", [coco(row["image_id"]) for row in rows])


def vizwiz(root: Path, split: str, rows: Sequence[tuple[str, Sequence[str], int]]) -> None:
    """(question, ten answers, answerable); the images are numbered."""
    names = [f"VizWiz_{split}_{n:08d}.jpg" for n in range(len(rows))]
    records = [
        {"image": name, "question": text, "answers": [{"answer": a, "answer_confidence": "maybe"} for a in given],
         "answer_type": "other" if answerable else "unanswerable", "answerable": answerable}
        for name, (text, given, answerable) in zip(names, rows, strict=True)
    ]  # fmt: skip
    dump(root / f"{split}.json", records)
    pictures(root / split, names)


def vqav2_idk(root: Path, part: str, rows: Sequence[tuple[int, str, Sequence[str], Sequence[str]]]) -> None:
    """(image id, question, ten answers, keywords)."""
    split = part.removesuffix("2014")
    records = [
        {
            "question_id": f"{image}000",
            "image": f"{part}/{coco(image, part)}",
            "question": text,
            "answer": list(given),
            "keywords": list(idk),
        }
        for image, text, given, idk in rows
    ]  # fmt: skip
    dump(root / f"VQAv2-IDK-{split}.json", records)
    pictures(root / part, [coco(image, part) for image, *_ in rows])
