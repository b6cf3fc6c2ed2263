"""What outside the runs folder a stage depends on, by name: files of data, of a base and of a saved rule. Goes into fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from inbol.config.data import SourceConfig
from inbol.config.training import BaseConfig
from inbol.evaluation.calibrated import CALIBRATION
from inbol.shards.remote import expand, is_remote

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt")
"""Of a benchmark's files."""


def folder_identity(folder: Path, *annotations: str) -> dict[str, str]:
    """What of a source outside the runs folder counts: the hashes of its annotation files, and one of the names, sizes and times of its
    images (hashing a million of them for a plan would take an hour). Absent files are left out; their stage reports them."""
    identity = {}
    for path in (folder / name for name in annotations):
        if path.is_file():
            identity[path.relative_to(folder).as_posix()] = file_hash(path)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return {**identity, "images": digest.hexdigest()}


def published_identity(source: SourceConfig) -> dict[str, str]:
    """As `folder_identity`, of the files that a published data set is read from; its other parts may come and go beside them."""
    files, root = source.published, Path(source.path)
    names = []
    for name in filter(None, (files.annotations, files.questions, files.test_annotations, files.test_questions)):
        names += sorted((root / name).glob("*.json")) if (root / name).is_dir() else [root / name]
    identity = {path.relative_to(root).as_posix(): file_hash(path) for path in names if path.is_file()}
    folders = filter(None, (files.images, files.test_images))
    return identity | {f"{name}/": folder_identity(root / name)["images"] for name in folders}


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shards_identity(parts: Mapping[str, str]) -> dict[str, str]:
    """One hash of the addresses of all shards, and of the sizes and times of those on this machine; what is wrong, `ingest` reports."""
    digest = hashlib.sha256()
    for part, pattern in parts.items():
        try:
            addresses = expand(pattern)
        except ValueError:
            addresses = [pattern]
        for address in addresses:
            path = Path(address)
            stat = path.stat() if not is_remote(address) and path.is_file() else None
            digest.update(f"{part}\0{address}\0{(stat.st_size, stat.st_mtime_ns) if stat else ''}\n".encode())
    return {"shards": digest.hexdigest()}


def checkpoint_identity(base: BaseConfig) -> dict[str, str]:
    """Names, sizes and times of a local checkpoint's files (hashing 15 GB for a plan would take a minute); empty for a hub id."""
    folder = Path(base.path)
    return folder_files(folder) if base.kind == "pretrained" and folder.is_dir() else {}


def folder_files(folder: Path) -> dict[str, str]:
    """Size and time of every file of a folder by name."""
    facts = {path.name: path.stat() for path in sorted(folder.iterdir()) if path.is_file() and path.name != CALIBRATION}
    return {name: f"{stat.st_size}-{stat.st_mtime_ns}" for name, stat in facts.items()}


def rule_identity(checkpoint: Path) -> dict[str, str]:
    """The hash of the rule for refusing that was saved with a checkpoint (`make calibrate`), which `predict` honours; empty without one."""
    path = checkpoint / CALIBRATION
    return {"calibration": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}


def benchmark_identity(folder: Path) -> dict[str, str]:
    """What of a benchmark's folder counts: as `folder_identity`, with every file as annotation whose name ends as those of data do."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in DATA_SUFFIXES and path.is_file()]
    return folder_identity(folder, *(path.relative_to(folder).as_posix() for path in found))
