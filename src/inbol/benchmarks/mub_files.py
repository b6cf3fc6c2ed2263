"""MUB's released files (arXiv 2411.02708): arrays of JSON that stop in the middle of a record, with every record several times.

One record, of `implicit/mislead_output/allmislead_gpt6_all.jsonl` (which is one JSON array, not JSON-Lines):

    {"question": "<image 1> The function of this structure was to", "choices": {"A": "...", ...}, "answer": "D", "response": "D",
     "all_category": "Art History", "question_correction": "FF", "model": "phi3-vision-128k-instruct", "question_type_CHorYN": "CH",
     "guide": "And the true answer is : B", "dataset": "MMMU", "num": 6, "new_id": "extract_img_all/0.jpg",
     "closed_model_response_T": "... /// ...", "closed_model_response_F": "1. ... /// 2. ..."}

`choices` is absent for yes/no questions and for ConBench_CH, whose options stand in the question; the notes are in the implicit files
alone. `question_correction` and `response` are about another model and inconsistent in themselves, so nothing here reads them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from inbol.benchmarks.base import BenchmarkDataMissing

PATTERNS = ("all_combined_items.jsonl", "allmislead_gpt*_all.jsonl")
"""Names of the released files; they may lie in any folder below."""
WHERE = (
    "download all_combined_items.jsonl and implicit/mislead_output/allmislead_gpt{6,9,12}_all.jsonl from github.com/Yunkai696/MUB (as "
    "published they end in the middle of a record); the full data and the pictures, extract_img_all/, are behind the Google Drive link "
    "of its README"
)
_GUIDE = re.compile(r"true answer is\s*:?\s*(.+?)\s*\.?\s*$", re.I)
_NUMBER = re.compile(r"^\d+\.\s*")
_NEXT_RECORD = re.compile(r"\n {0,2}\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class MubRecord:
    """One question with its misleading material."""

    question: str
    choices: dict[str, str]
    """Options by letter; empty for yes/no questions, and where the options stand in the question."""
    answer: str
    """A capital letter, or `yes` or `no`."""
    yes_no: bool
    guide: str
    """The explicit hint, verbatim: `And the true answer is : B`."""
    hint: str
    """What the hint says, as `answer`."""
    dataset: str
    num: int
    """How many of the authors' twelve models the hint misled; 6, 9 and 12 are the tiers."""
    image: str
    """Path in the release: `extract_img_all/0.jpg`."""
    helpful: tuple[str, ...] = ()
    """Notes that argue for the right answer; empty ones left out."""
    misleading: tuple[str, ...] = ()
    """Notes that argue for a wrong one."""

    @property
    def key(self) -> str:
        """Unique, whatever else the files hold: number of the image and a hash of the question."""
        return f"i{PurePosixPath(self.image).stem}-{hashlib.sha256(self.question.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The distinct records of all files, and what a reader of the results must know about the files."""

    records: tuple[MubRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Array:
    """The whole records of a JSON array."""

    records: list[tuple[int, dict[str, Any]]]
    """(line it starts in, record)."""
    lost: int = 0
    """Bytes behind the last whole record, where the file stops in the middle; 0 for a whole file."""
    closed: bool = True
    """Whether the closing bracket is there."""


def read_array(path: Path) -> Array:
    """The records of a JSON array of objects up to the last whole one.

    Raises:
        ValueError: no array, or a record in its middle that is not JSON; names file and line. Only an end that is missing is forgiven.
    """
    raw = path.read_bytes()
    text = _decode(path, raw)
    decoder = json.JSONDecoder()
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] != "[":
        raise ValueError(f"{path}: starts with {text[start : start + 20]!r}, expected a JSON array as published")
    at, line, counted = start + 1, 1, 0
    records: list[tuple[int, dict[str, Any]]] = []
    end = at
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        line, counted = line + text.count("\n", counted, at), at
        if at >= len(text):
            return Array(records, lost=len(raw) - len(text[:end].encode()), closed=False)
        if text[at] == "]":
            return Array(records)
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            if _NEXT_RECORD.search(text, at + 1) or text.rstrip().endswith("]"):
                raise ValueError(f"{path}:{line}: record {len(records) + 1} is not JSON ({error.msg}), and others follow it") from None
            return Array(records, lost=len(raw) - len(text[:end].encode()), closed=False)
        if not isinstance(value, dict):
            raise ValueError(f"{path}:{line}: record {len(records) + 1} is {type(value).__name__}, expected an object")
        records.append((line, value))
        end = at


def _decode(path: Path, raw: bytes) -> str:
    """UTF-8, without a character that the end of the file cuts."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            raise ValueError(f"{path}: byte {error.start} is not UTF-8 ({error.reason})") from None
        return raw[: error.start].decode()


def read_folder(folder: Path) -> Reading:
    """The distinct records of every released file below `folder`, in the order of file names; one record per (question, new_id).

    Repetitions are dropped; of two files with the same question, the notes may come from the second. A repetition that says something
    else keeps the first and is counted in `notes`, as are truncated files.

    Raises:
        BenchmarkDataMissing: there is no such file.
        ValueError: a record that cannot be understood; names file, line and field.
    """
    paths = sorted({path for pattern in PATTERNS for path in folder.rglob(pattern)})
    if not paths:
        raise BenchmarkDataMissing(f"{folder}: none of MUB's files ({', '.join(PATTERNS)}); {WHERE}")
    found: dict[tuple[str, str], MubRecord] = {}
    notes: list[str] = []
    for path in paths:
        array = read_array(path)
        before, differing = len(found), 0
        for line, raw in array.records:
            record = parse(raw, f"{path}:{line}")
            name = (record.question, record.image)
            found.setdefault(name, record)
            merged = _with_notes(found[name], record)
            differing += merged is None
            found[name] = merged or found[name]
        said = f"{path.name}: {len(array.records)} records, {len(found) - before} of them new by (question, new_id)"
        if not array.closed:
            said += f"; TRUNCATED, the last {array.lost:,} bytes are no whole record"
        if differing:
            said += f"; {differing} repetitions differ, the first counts"
        notes.append(said + ".")
    return Reading(tuple(found.values()), tuple(notes + _odd(list(found.values()))))


def _with_notes(first: MubRecord, other: MubRecord) -> MubRecord | None:
    """`first` with the notes of whichever has them; None where the two differ in anything else, or have different notes."""
    names = [f.name for f in fields(MubRecord) if f.name not in ("helpful", "misleading")]
    if any(getattr(first, name) != getattr(other, name) for name in names):
        return None
    for name in ("helpful", "misleading"):
        mine, theirs = getattr(first, name), getattr(other, name)
        if mine and theirs and mine != theirs:
            return None
    return replace(first, helpful=first.helpful or other.helpful, misleading=first.misleading or other.misleading)


def _odd(records: list[MubRecord]) -> list[str]:
    second = sum("<image 2>" in record.question for record in records)
    return [f"{second} questions speak of <image 2>; the release has one picture a question."] if second else []


def parse(raw: Mapping[str, Any], where: str) -> MubRecord:
    """One raw record. Raises ValueError with `where`, the field and what is wrong."""
    kind = _one_of(raw, "question_type_CHorYN", ("CH", "YN"), where)
    yes_no = kind == "YN"
    choices = raw.get("choices") or {}
    if not isinstance(choices, Mapping):
        raise ValueError(f"{where}: choices is {type(choices).__name__}, expected a mapping from letters to texts")
    num = raw.get("num")
    if not isinstance(num, int) or isinstance(num, bool):
        raise ValueError(f"{where}: num is {num!r}, expected the number of misled models")
    image = PurePosixPath(_text(raw, "new_id", where))
    if image.is_absolute() or ".." in image.parts:
        raise ValueError(f"{where}: new_id is {str(image)!r}, expected a path inside the release such as extract_img_all/0.jpg")
    guide = _text(raw, "guide", where)
    if not (said := _GUIDE.search(guide)):
        raise ValueError(f"{where}: guide is {guide!r}, expected one that ends in `the true answer is : X`")
    return MubRecord(
        question=_text(raw, "question", where),
        choices={str(letter): str(text) for letter, text in choices.items()},
        answer=_answer(_text(raw, "answer", where), yes_no, f"{where}: answer"),
        yes_no=yes_no,
        guide=guide,
        hint=_answer(said[1], yes_no, f"{where}: guide"),
        dataset=str(raw.get("dataset", "")),
        num=num,
        image=str(image),
        helpful=split_notes(str(raw.get("closed_model_response_T") or "")),
        misleading=split_notes(str(raw.get("closed_model_response_F") or "")),
    )


def split_notes(text: str) -> tuple[str, ...]:
    """The notes between `///`, without a leading `1. `; empty ones left out."""
    return tuple(note for part in text.split("///") if (note := _NUMBER.sub("", part.strip())))


def _answer(text: str, yes_no: bool, where: str) -> str:
    said = text.strip().lower() if yes_no else text.strip()
    allowed = said in ("yes", "no") if yes_no else len(said) == 1 and said.isascii() and said.isupper()
    if not allowed:
        raise ValueError(f"{where} is {text!r}, expected {'Yes or No' if yes_no else 'a capital letter'}")
    return said


def _text(raw: Mapping[str, Any], name: str, where: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {name} is {value!r}, expected a text")
    return value


def _one_of(raw: Mapping[str, Any], name: str, allowed: tuple[str, ...], where: str) -> str:
    if (value := raw.get(name)) not in allowed:
        raise ValueError(f"{where}: {name} is {value!r}, expected one of {', '.join(allowed)}")
    return str(value)
