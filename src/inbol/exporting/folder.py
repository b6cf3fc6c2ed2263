"""A folder that is handed out: written beside its place, its manifest last, and moved there whole; nobody else's folder is touched."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inbol.shards.manifest import MANIFEST, fingerprint, is_complete, outputs, read_manifest, write_manifest

VERSION = 1
"""Of the layouts; another one writes an existing export anew."""


def write_folder(
    out: Path, kind: str, settings: Mapping[str, Any], parents: Mapping[str, str], fill: Callable[[Path], Mapping[str, Any]]
) -> tuple[bool, dict[str, Any]]:
    """Let `fill` write a folder and put it at `out`, unless the same is there already.

    Args:
        out: where it is to be; an older export of the same kind makes way.
        kind: what it is, such as `export` or `model`.
        settings: what its contents depend on beside `parents`.
        parents: fingerprint of every stage it is made from, by role.
        fill: writes into the folder it is given, and returns facts for the manifest.

    Returns:
        (whether it was written, its manifest).

    Raises:
        ValueError: `out` is there and is no export of this kind, or holds files that the export did not write.
    """
    print_ = fingerprint(kind, VERSION, settings, parents)
    if out.exists() or out.is_symlink():
        check_own(out, kind)
        if read_manifest(out)["fingerprint"] == print_:
            return False, read_manifest(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part, old = (out.with_name(f".{out.name}.{os.getpid()}.{state}") for state in ("part", "old"))
    start = time.monotonic()
    try:
        part.mkdir()
        facts = fill(part)
        manifest = write_manifest(
            part,
            stage=kind,
            fingerprint=print_,
            stage_version=VERSION,
            config=settings,
            parents=parents,
            facts=facts,
            seconds=time.monotonic() - start,
            world_size=1,
        )
        if out.exists():
            out.rename(old)
        part.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return True, manifest


def check_own(out: Path, kind: str) -> None:
    """Refuse a folder that is not, as a whole, an export of this kind. Raises ValueError."""
    if out.is_symlink() or not out.is_dir():
        raise ValueError(f"OUT: {out} is there and is no folder of ours; name a new folder")
    if not any(out.iterdir()):
        raise ValueError(f"OUT: {out} is there already (empty); remove it, or name a new folder")
    if not is_complete(out) or read_manifest(out).get("stage") != kind:
        raise ValueError(f"OUT: {out} is there and was not written as {kind!r}; it is left alone, name a new folder")
    known = {*read_manifest(out)["files"], MANIFEST}
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir() or path.is_symlink()}
    if strange := sorted(found - known) or [path.relative_to(out).as_posix() for path in outputs(out) if _changed(path, out)]:
        raise ValueError(f"OUT: {out} holds what the export did not write ({', '.join(strange[:3])}); it is left alone, name a new folder")


def _changed(path: Path, out: Path) -> bool:
    return path.stat().st_size != read_manifest(out)["files"][path.relative_to(out).as_posix()]["bytes"]
