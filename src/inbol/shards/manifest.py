"""A stage folder's name and its proof of being whole: the fingerprint, and `manifest.json`, written last."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from inbol.contracts import SCHEMA_VERSION
from inbol.shards.files import write_text
from inbol.text.masking import masked

MANIFEST = "manifest.json"
PACKAGES = ("torch", "transformers", "deepspeed", "trl", "peft", "webdataset")
_WORKING_FOLDERS = ("trainer", "tracker")
_WORKING_FILES = ("job.json", MANIFEST)
_WORKING_PATTERNS = (".*", "*.log", "*.part", "*.tmp", "progress-*.json", "facts-*.json")


def fingerprint(stage: str, version: int, config: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """16 hex characters that change exactly when the stage's code version, a value of its configuration or an input changes.

    Args:
        stage: name of the stage.
        version: version of the stage's code.
        config: its configuration as plain JSON values; the order of keys plays no part.
        parents: fingerprint of every input, by role.
    """
    whole = {"config": config, "parents": parents, "schema": SCHEMA_VERSION, "stage": stage, "version": version}
    return hashlib.sha256(_canonical(whole).encode()).hexdigest()[:16]


def write_manifest(
    folder: Path,
    *,
    stage: str,
    fingerprint: str,
    stage_version: int,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    facts: Mapping[str, Any],
    seconds: float,
    world_size: int,
) -> dict[str, Any]:
    """Hash every file of the finished `folder` and write its manifest, atomically; call it last, since it makes the folder complete.

    Only values that are passed in, file hashes, package versions and the git revision are written: never the environment, and no secret
    that the configuration might hold.
    """
    manifest = {
        "stage": stage,
        "fingerprint": fingerprint,
        "schema_version": SCHEMA_VERSION,
        "stage_version": stage_version,
        "config": masked(config),
        "parents": dict(sorted(parents.items())),
        "facts": facts,
        "files": {path.relative_to(folder).as_posix(): _file_facts(path) for path in outputs(folder)},
        "packages": package_versions(),
        "git_revision": git_revision(),
        "seconds": round(seconds, 3),
        "world_size": world_size,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete folder. Raises ValueError when the folder is incomplete or the manifest is not one."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} is not complete: it has no {MANIFEST}; run the recipe again to finish it") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run the recipe again") from None
    if not isinstance(manifest, dict) or "fingerprint" not in manifest:
        raise ValueError(f"{path} is not a stage manifest; delete it and run the recipe again")
    return manifest


def is_complete(folder: Path) -> bool:
    """Whether the stage that writes `folder` has finished."""
    return (folder / MANIFEST).is_file()


def outputs(folder: Path) -> Iterator[Path]:
    """The files of a stage folder that count as its output, sorted: no logs, orders, temporaries, trainer checkpoints or tracker runs."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or relative.parts[0] in _WORKING_FOLDERS or relative.as_posix() in _WORKING_FILES:
            continue
        if not any(path.match(pattern) for pattern in _WORKING_PATTERNS):
            yield path


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that numbers depend on, without importing them."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@cache
def git_revision() -> str | None:
    """Commit of the code, with `-dirty` behind it when files were changed since; outside a repository what INBOL_REVISION says (images have
    it), or None."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=False)
        found = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        found = ""
    if not found and not any((folder / ".git").exists() for folder in Path(__file__).parents):
        found = os.environ.get("INBOL_REVISION", "")
    return found or None


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
