"""The training data of a run in another project's layout: SFT examples and preference pairs, with their images.

Records are read and written shard by shard, so that a million of them need no more memory than one shard.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from inbol.contracts import PreferencePair, SftExample
from inbol.exporting import layouts, readme
from inbol.exporting.folder import write_folder
from inbol.exporting.layouts import Record
from inbol.shards.files import read_records, write_text
from inbol.shards.manifest import read_manifest
from inbol.shards.reader import ImageStore

KINDS: dict[str, type[Record]] = {"sft": SftExample, "pairs": PreferencePair}
ROWS_PER_GROUP = 256
"""Rows of a parquet file that are held in memory, encoded images and all."""


def export_data(out: Path, layout: str, vqa: Path, data: Mapping[str, Path], *, run: str) -> tuple[bool, dict[str, Any]]:
    """Write the records of `data` with their images to `out` in one of `layouts.FORMATS`; returns as `write_folder`.

    Args:
        out: folder to be made.
        layout: name of the format.
        vqa: folder of the stage `ingest`, which holds the images.
        data: folder of the stage `sft_data` as `sft`, of `pairs` as `pairs`; one of them or both.
        run: name of the run, for the README.

    Raises:
        ValueError: unknown format, no data, a folder that is not complete, an image that is not there, `out` is not an export of ours.
    """
    if layout not in layouts.FORMATS:
        raise ValueError(f"FORMAT: {layout!r} is not one of {', '.join(layouts.FORMATS)}")
    if not data:
        raise ValueError(f"RUN: {run} has neither SFT examples nor pairs to export; it trains nothing")
    manifests = {role: read_manifest(folder) for role, folder in {"vqa": vqa, **data}.items()}
    parents = {role: manifest["fingerprint"] for role, manifest in manifests.items()}

    def fill(folder: Path) -> dict[str, Any]:
        writer = _Parquet(folder, layout) if layout in ("trl", "hf") else _Lines(folder, layout)
        store = ImageStore(vqa)
        counts = {kind: writer.write(kind, _shards(data[kind], KINDS[kind]), store) for kind in KINDS if kind in data}
        write_text(folder / "README.md", readme.data_readme(layout, counts, manifests))
        return {"rows": counts}

    return write_folder(out, "export", {"format": layout}, parents, fill)


def _shards(folder: Path, kind: type[Record]) -> Iterator[tuple[str, list[Record]]]:
    """(stem, records) of every record file."""
    paths = sorted(folder.glob("*-[0-9]*.jsonl"))
    if not paths:
        raise ValueError(f"{folder} holds no record files (<split>-NNNNNN.jsonl)")
    for path in paths:
        yield path.stem, read_records(path, kind)


def _image(store: ImageStore, record: Record) -> tuple[str, bytes]:
    """(extension, encoded image)."""
    try:
        members = store.members(record.image_key)
    except KeyError as error:
        raise ValueError(f"{record.key}: {error.args[0]}") from None
    (extension,) = (name for name in members if name != "json")
    return extension, members[extension]


class _Lines:
    """JSON lines and image files: LLaMA-Factory and ms-swift."""

    def __init__(self, folder: Path, layout: str) -> None:
        self.folder = folder
        self.row = layouts.llama_factory_row if layout == "llama-factory" else layouts.ms_swift_row
        self.info = layout == "llama-factory"
        self.files: dict[str, str] = {}

    def write(self, kind: str, shards: Iterator[tuple[str, list[Record]]], store: ImageStore) -> int:
        rows = 0
        images = self.folder / "images"
        images.mkdir(exist_ok=True)
        with (self.folder / f"{kind}.jsonl").open("w", encoding="utf-8") as file:
            for _, records in shards:
                for record in records:
                    extension, data = _image(store, record)
                    path = images / f"{record.image_key}.{extension}"
                    if not path.exists():
                        path.write_bytes(data)
                    row = self.row(record, path.relative_to(self.folder).as_posix())
                    file.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
                    rows += 1
        self.files[kind] = f"{kind}.jsonl"
        if self.info:
            write_text(self.folder / "dataset_info.json", json.dumps(layouts.dataset_info(self.files), indent=1) + "\n")
        return rows


class _Parquet:
    """Parquet files with the images in the rows, in `datasets`' feature types: TRL and the hub."""

    def __init__(self, folder: Path, layout: str) -> None:
        self.folder = folder
        self.trl = layout == "trl"

    def write(self, kind: str, shards: Iterator[tuple[str, list[Record]]], store: ImageStore) -> int:
        import pyarrow as pa  # heavy, as `datasets`
        import pyarrow.parquet as pq

        schema = features(KINDS[kind], trl=self.trl).arrow_schema
        rows = 0
        (self.folder / kind).mkdir()
        for name, records in shards:
            with pq.ParquetWriter(self.folder / kind / f"{name}.parquet", schema) as writer:
                for start in range(0, len(records), ROWS_PER_GROUP):
                    made = [self._row(record, store) for record in records[start : start + ROWS_PER_GROUP]]
                    writer.write_table(pa.Table.from_pylist(made, schema=schema))
            rows += len(records)
        return rows

    def _row(self, record: Record, store: ImageStore) -> dict[str, Any]:
        image = {"bytes": _image(store, record)[1], "path": None}
        return {"images": [image], **layouts.trl_row(record)} if self.trl else {"image": image, **layouts.hf_row(record)}


def features(kind: type[Record], *, trl: bool) -> Any:
    """The `datasets.Features` of a kind of record in TRL's layout, or of its own fields."""
    from datasets import Features, Image, List, Value

    types = {str: "string", float: "float64", bool: "bool"}
    hints = typing.get_type_hints(kind)
    own = {field.name: Value(types[hints[field.name]]) for field in fields(kind)}
    if not trl:
        return Features({"image": Image(), **own})
    turns = List({"role": Value("string"), "content": Value("string")})
    talk = ("messages",) if kind is SftExample else ("prompt", "chosen", "rejected")
    extras = {name: value for name, value in own.items() if name not in layouts.TEXTS}
    return Features({"images": List(Image()), **dict.fromkeys(talk, turns), **extras})
