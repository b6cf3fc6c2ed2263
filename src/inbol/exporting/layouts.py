"""One training record as another project's row: pure, from a record and the name of its image to a dictionary.

Whatever the record says beside its texts (key, weight, confidence, ...) stands in columns of its own; what a trainer makes of them is
`LOST`, which every export's README says.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from inbol.contracts import PreferencePair, SftExample

Record = SftExample | PreferencePair
FORMATS = ("trl", "llama-factory", "ms-swift", "hf")
TEXTS = ("prompt", "target", "chosen", "rejected")
PLACEHOLDER = "<image>"
MARKERS = (PLACEHOLDER, "<video>", "<audio>")
"""What LLaMA-Factory and ms-swift read as a place of a medium, wherever it stands in a text."""

LOST = {
    "trl": "`weight`, `confidence` and the other columns are carried and not read: SFTTrainer and DPOTrainer weigh every row alike.",
    "llama-factory": "`weight`, `confidence` and the other columns are carried in the files and dropped when LLaMA-Factory reads them.",
    "ms-swift": "`weight`, `confidence` and the other columns are carried in the files and dropped when ms-swift reads them.",
    "hf": "Nothing is lost: the columns are the records' own fields, with the image in the row.",
}


def extras(record: Record) -> dict[str, Any]:
    """The fields of a record beside its texts."""
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name not in TEXTS}


def trl_row(record: Record) -> dict[str, Any]:
    """TRL's conversational layout: `messages`, or `prompt`, `chosen`, `rejected`; the images stand in `images`, without a placeholder."""
    question = _message("user", record.prompt)
    if isinstance(record, SftExample):
        return {"messages": [question, _message("assistant", record.target)], **extras(record)}
    sides = {side: [_message("assistant", getattr(record, side))] for side in ("chosen", "rejected")}
    return {"prompt": [question], **sides, **extras(record)}


def llama_factory_row(record: Record, image: str) -> dict[str, Any]:
    """LLaMA-Factory's sharegpt layout, with the chosen and the rejected turn beside the conversation for a pair.

    Raises:
        ValueError: a text that holds the place of a medium.
    """
    check_texts(record)
    human = {"from": "human", "value": PLACEHOLDER + record.prompt}
    if isinstance(record, SftExample):
        return {"conversations": [human, {"from": "gpt", "value": record.target}], "images": [image], **extras(record)}
    sides = {side: {"from": "gpt", "value": getattr(record, side)} for side in ("chosen", "rejected")}
    return {"conversations": [human], **sides, "images": [image], **extras(record)}


def ms_swift_row(record: Record, image: str) -> dict[str, Any]:
    """ms-swift's standard layout: `messages` and `images`, and `rejected_response` for a pair. Raises as `llama_factory_row`."""
    check_texts(record)
    answer = record.target if isinstance(record, SftExample) else record.chosen
    row = {"messages": [_message("user", PLACEHOLDER + record.prompt), _message("assistant", answer)]}
    rejected = {} if isinstance(record, SftExample) else {"rejected_response": record.rejected}
    return {**row, **rejected, "images": [image], **extras(record)}


def hf_row(record: Record) -> dict[str, Any]:
    """The record's own fields."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def dataset_info(files: dict[str, str]) -> dict[str, Any]:
    """LLaMA-Factory's description of the files, by `sft` and `pairs`."""
    info: dict[str, Any] = {}
    for kind, name in files.items():
        columns = {"messages": "conversations", "images": "images"}
        ranking = {"ranking": True} if kind == "pairs" else {}
        sides = {"chosen": "chosen", "rejected": "rejected"} if kind == "pairs" else {}
        info[f"inbol_{kind}"] = {"file_name": name, "formatting": "sharegpt", **ranking, "columns": {**columns, **sides}}
    return info


def check_texts(record: Record) -> None:
    """Refuse a record whose texts hold the place of a medium, which would want another image. Raises ValueError."""
    for name in TEXTS:
        if found := [marker for marker in MARKERS if marker in getattr(record, name, "")]:
            raise ValueError(f"{record.key}: {name} holds {found[0]!r}, which this layout reads as an image's place; export as trl or hf")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
