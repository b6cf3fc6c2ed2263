"""Reading other people's annotation files and finding the pictures that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from inbol.benchmarks.base import BenchmarkDataMissing
from inbol.contracts import VqaSample
from inbol.sources.images import IMAGE_FORMATS

Record = tuple[str, dict[str, Any]]
"""(where it stands, for messages; the record)."""


def need_file(folder: Path, names: Sequence[str], *, benchmark: str, source: str) -> Path:
    """The first of these files that is there. Raises BenchmarkDataMissing, with `source` saying what to download from where."""
    for name in names:
        if (path := folder / name).is_file():
            return path
    raise BenchmarkDataMissing(f"{benchmark}: {folder} has no {' or '.join(names)}; {source}")


def read_array(path: Path) -> list[Record]:
    """The records of a JSON array, or of JSON-Lines, whatever the file's name says: its first character that is no blank decides.

    Raises:
        ValueError: no JSON, or something that is no object, or no record at all; names the file and the line or number.
    """
    text = _text(path)
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        return _objects(path, _parsed(path, start))
    records: list[Record] = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            raw = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not valid JSON: {error}") from None
        records.append((where, _object(where, raw)))
    if not records:
        raise ValueError(f"{path}: holds no records")
    return records


def read_field(path: Path, field: str) -> list[Record]:
    """The records of the array under `field` of a JSON object. Raises ValueError as `read_array`."""
    raw = _parsed(path, _text(path).lstrip("\ufeff"))
    if not isinstance(raw, dict) or not isinstance(raw.get(field), list):
        raise ValueError(f"{path}: must be a JSON object with an array {field!r}")
    return _objects(path, raw[field])


def text_of(where: str, raw: Mapping[str, Any], *names: str, default: str | None = None) -> str:
    """The text under the first of `names` that the record has; `default` where it has none, or null.

    Raises:
        ValueError: no such text, and no default; or a value that is no text.
    """
    for name in names:
        value = raw.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise ValueError(f"{where}: {name} must be a text, got {value!r}")
        if value.strip() or default is not None:
            return value.strip()
    if default is None:
        raise ValueError(f"{where}: lacks {' or '.join(names)}; it has {', '.join(sorted(raw)) or 'nothing'}")
    return default


def rest(raw: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """What a record says beyond the fields that are read: kept as it is."""
    return {name: value for name, value in raw.items() if name not in used}


class Pictures:
    """The picture files below a benchmark's folder. A name may be a path below the folder or a subfolder of it, or a bare file name."""

    def __init__(self, folder: Path, *, benchmark: str, source: str) -> None:
        self.folder, self.benchmark, self.source = folder, benchmark, source
        self.missing: list[str] = []
        self.asked = 0

    def find(self, where: str, name: str) -> Path:
        """The file of a picture; one that is missing is noted for `check`, so that all are named at once.

        Raises:
            ValueError: the name leads out of the folder, or two files could be meant.
        """
        self.asked += 1
        pure = PurePosixPath(name.replace("\\", "/"))
        if ".." in pure.parts:
            raise ValueError(f"{where}: image {name!r} leads out of {self.folder}")
        if not pure.is_absolute() and (path := self.folder / pure).is_file():
            return path
        found = self._by_name.get(pure.name, [])
        if len(found) > 1:
            fitting = [path for path in found if path.as_posix().endswith(f"/{pure}")]
            if len(fitting) != 1:
                raise ValueError(f"{where}: image {name!r} could be {' or '.join(str(path) for path in found[:3])}; name its folder")
            return fitting[0]
        if not found:
            self.missing.append(name)
            return self.folder / pure.name
        return found[0]

    def by_number(self, where: str, number: int) -> Path:
        """The file whose name ends in this number, such as `COCO_val2014_000000000042.jpg`; otherwise as `find`."""
        self.asked += 1
        found = self._by_number.get(number, [])
        if len(found) > 1:
            raise ValueError(f"{where}: image_id {number} could be {found[0]} or {found[1]}; leave one of them")
        if not found:
            self.missing.append(f"*_{number:012d}.jpg")
            return self.folder / f"{number:012d}.jpg"
        return found[0]

    def check(self) -> None:
        """Raises BenchmarkDataMissing when a picture that was asked for is not there."""
        if self.missing:
            names = sorted(set(self.missing))
            raise BenchmarkDataMissing(
                f"{self.benchmark}: {len(names)} images are missing below {self.folder}, first {names[0]!r}, "
                f"needed by {len(self.missing)} of {self.asked} questions; {self.source}"
            )

    @cached_property
    def _files(self) -> list[Path]:
        return [path for path in sorted(self.folder.rglob("*")) if path.suffix.lower().lstrip(".") in IMAGE_FORMATS]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self._files:
            found.setdefault(path.name, []).append(path)
        return found

    @cached_property
    def _by_number(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for path in self._files:
            tail = path.stem.rpartition("_")[2]
            if tail.isdecimal():
                found.setdefault(int(tail), []).append(path)
        return found


def with_facts(samples: Sequence[VqaSample], facts: Mapping[str, Sequence[str]], *, benchmark: str) -> list[VqaSample]:
    """The samples whose `meta` has one of these values for each fact. Raises ValueError where there are none to make an instance of."""
    known = [sample for sample in samples if all(sample.meta.get(fact) in values for fact, values in facts.items())]
    if not known:
        raise ValueError(
            f"{benchmark}: a tiny instance needs pictures whose {' and '.join(facts)} are known, which this source has not; "
            f"set benchmark.{benchmark}.path to the released files"
        )
    return known


def write_pictures(samples: Sequence[VqaSample], folder: Path) -> dict[str, str]:
    """Write the samples' images as files; returns the file name by sample key."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {sample.key: f"{sample.key}.{sample.image_format}" for sample in samples}
    for sample in samples:
        (folder / names[sample.key]).write_bytes(sample.image)
    return names


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON-Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text: {error}") from None


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON (is the download whole?): {error}") from None


def _objects(path: Path, raw: list[Any]) -> list[Record]:
    if not raw:
        raise ValueError(f"{path}: holds no records")
    return [(where, _object(where, one)) for number, one in enumerate(raw, start=1) for where in [f"{path}: record {number}"]]


def _object(where: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: must be a JSON object, got {type(raw).__name__}")
    return raw
