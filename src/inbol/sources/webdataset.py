"""Other people's WebDataset shards: one sample is an image member (PNG, JPEG or WebP) and a `.json` member in one of these forms.

    {"question": "What is on the table?", "answers": ["a cup", "cup"]}                   one question (or `answer`, a single one)
    {"questions": [{"question": "...", "answer": "..."}, ...], "split": "test"}          several questions
    {"conversations": [{"from": "human", "value": "<image>\\nWhat ...?"}, {"from": "gpt", "value": "a cup"}, ...]}     LLaVA's turns

The fields of a question are those of a `local` source (`sources/local.py`); `split` may stand beside the questions too. Other fields play
no part. Nothing but the image and the `.json` is ever decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from inbol.contracts import SPLITS, Question, VqaSample
from inbol.sources.degrade import Level, level_meta
from inbol.sources.images import IMAGE_FORMATS, decode_image, probe_image
from inbol.sources.questions import FIELDS, check_question

NAME = "shards"


def safe_key(key: str, part: str = "") -> str:
    """The key as this project writes it: letters, digits, `-` and `_`, with the part's name before it."""
    return (f"{part}-" if part else "") + re.sub(r"[^A-Za-z0-9_\-]+", "-", key)


def sample_of(key: str, members: dict[str, bytes], *, part: str = "", decode: bool = True) -> VqaSample:
    """The sample of one run of members; its `split` is empty where the record says none.

    Args:
        key: safe key (`safe_key`).
        members: by extension; those that are neither an image nor `json` are not looked at.
        part: name of the data it belongs to, the sample's `source`.
        decode: decode the image's pixels, to know that they are whole; False reads its header alone.

    Raises:
        ValueError: no image or several, no `.json`, another form of record, an image that is none or is damaged.
    """
    images = [extension for extension in members if extension in IMAGE_FORMATS]
    if len(images) != 1:
        raise ValueError(f"needs exactly one image member (.{', .'.join(IMAGE_FORMATS)}), found {', '.join(images) or 'none'}")
    if "json" not in members:
        raise ValueError("lacks its .json member")
    try:
        raw = json.loads(members["json"])
    except (ValueError, RecursionError) as error:  # a bomb of brackets ends in the latter
        raise ValueError(f".json is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f".json must be an object, got {type(raw).__name__}")
    records = [check_question(record) for record in _records(raw)]
    splits = {record.get("split", "") for record in records} | {_split(raw)} - {""}
    if len(splits - {""}) > 1:
        raise ValueError(f"its questions are in several splits: {', '.join(sorted(splits))}")
    image_format = probe_image(members[images[0]])[0]
    if decode:
        decode_image(members[images[0]])
    questions = tuple(_question(key, number, record) for number, record in enumerate(records))
    if len({question.key for question in questions}) < len(questions):
        raise ValueError("two of its questions have the same id")
    return VqaSample(
        key=key,
        image=members[images[0]],
        image_format=image_format,
        split=max(splits),
        source=part or NAME,
        questions=questions,
        meta={**level_meta((Level(),), 0), "shape": "", "color": ""},
    )


def _records(raw: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The question records of one sample, in the form of `local`. Raises ValueError for another form."""
    if "conversations" in raw:
        return _turns(raw["conversations"])
    questions = raw.get("questions", [raw] if "question" in raw else None)
    if not isinstance(questions, list) or not questions or not all(isinstance(record, dict) for record in questions):
        raise ValueError(".json has no question: needs `question`, a list `questions` of objects, or `conversations`")
    return [{field: record[field] for field in FIELDS if field in record} for record in questions]


def _turns(turns: Any) -> list[dict[str, Any]]:
    if not isinstance(turns, list) or not turns or len(turns) % 2 or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("conversations must be pairs of turns, each an object with `from` and `value`")
    records = []
    for human, model in zip(turns[::2], turns[1::2], strict=True):
        values = human.get("value"), model.get("value")
        if human.get("from") not in ("human", "user") or model.get("from") not in ("gpt", "assistant"):
            raise ValueError(f"conversations must alternate human and gpt, got {human.get('from')!r} and {model.get('from')!r}")
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"conversations: values must be texts, got {values!r}")
        records.append({"question": str(values[0]).replace("<image>", "").strip(), "answer": str(values[1]).strip()})
    return records


def _split(raw: dict[str, Any]) -> str:
    split = raw.get("split", "")
    if split not in ("", *SPLITS):
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    return str(split)


def _question(key: str, number: int, record: dict[str, Any]) -> Question:
    return Question(
        key=f"{key}-{record['id']}" if "id" in record else f"{key}-q{number:02d}",
        image_key=key,
        text=record["question"],
        answers=tuple(record["answers"]),
        answerable=record.get("answerable", True),
        kind=record.get("kind", ""),
    )
