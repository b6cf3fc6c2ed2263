"""Files that are whole or absent: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from inbol.contracts import from_json, to_json

T = TypeVar("T")


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically; parent folders are made. A full disk raises OSError and leaves no partial `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Flush what was written to a file, or the names in a folder, to disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


def write_records(path: Path, records: Iterable[Any]) -> int:
    """Write records as JSON-Lines, atomically; returns their number."""
    lines = [to_json(record) for record in records]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def read_records(path: Path, cls: type[T]) -> list[T]:
    """The records of a JSON-Lines file. Raises ValueError naming file and line for anything that is not a record of `cls`."""
    records = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                records.append(from_json(cls, line))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    return records
