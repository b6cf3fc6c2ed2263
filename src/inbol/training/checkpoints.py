"""Checkpoints that are whole or invisible, and the export to an ordinary Hugging Face folder.

A checkpoint is written in `.part-<step>/`, every file is flushed to disk and hashed, the marker lists them, and only then the folder gets
its name, `checkpoint-<step>`. So whatever has that name was whole once; what happened to it since, its hashes tell.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from inbol.shards.files import sync, write_text

COMPLETE = "COMPLETE"
"""The marker: name, size and sha256 of every other file of the checkpoint."""
PART, OLD, FAILED, PREFIX = ".part-", ".old-", "failed-checkpoint-", "checkpoint-"
PROCESSOR_FILES = (
    "*processor_config.json", "chat_template*", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt",
    "*.model",
)  # fmt: skip
"""Files of a checkpoint that are its processor's, by pattern."""


def listing(folder: Path) -> list[str]:
    """Paths of a checkpoint's files below `folder`, sorted, without the marker."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE)


def hashes(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Flush and hash these files of a checkpoint that is being written: (bytes, sha256) by name.

    sha256 as in every manifest: about 1 GB/s a core, and the ranks share the files, so that it adds little to writing them; crc32 is less
    than twice as fast, and does not tell a damaged file from another.
    """
    found = {}
    for name in names:
        sync(folder / name)
        found[name] = (folder / name).stat().st_size, _sha256(folder / name)
    return found


def publish(part: Path, folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """Mark `part` as complete and give it its name, `folder`; what has that name already is put away first. On one rank."""
    marker = {"files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(files.items())}}
    write_text(part / COMPLETE, json.dumps(marker, indent=1) + "\n")
    for inner in {part, *((part / name).parent for name in files)}:
        sync(inner)
    if folder.exists():
        _remove(folder)
    part.rename(folder)
    sync(folder.parent)


def failure(folder: Path, share: tuple[int, int] = (0, 1)) -> str | None:
    """What is wrong with a checkpoint, or None: a file that is missing, has another size or another hash than the marker says.

    Args:
        folder: the checkpoint.
        share: (rank, world size): every world-size-th file of the marker is looked at.
    """
    try:
        listed = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["files"]
        wanted = [(name, int(facts["bytes"]), str(facts["sha256"])) for name, facts in sorted(listed.items())]
    except FileNotFoundError:
        return f"{COMPLETE} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{COMPLETE} is no list of files"
    for name, size, digest in wanted[share[0] :: share[1]]:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _sha256(path) != digest:
            return f"{name} has another content than was written"
    return None


def checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints in `folder`, the newest first; whether they are whole is another question."""
    names = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def rotate(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints. On one rank."""
    for step in checkpoints(folder)[keep:]:
        _remove(folder / f"{PREFIX}{step}")


def sweep(folder: Path) -> None:
    """Remove what a killed run left unfinished: checkpoints half written or half removed. On one rank."""
    for pattern in (f"{PART}*", f"{OLD}*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _remove(folder: Path) -> None:
    """A checkpoint that is being removed loses its name first: a kill in the middle leaves nothing that looks like one."""
    old = folder.with_name(f"{OLD}{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def export(trainer: Any, processor: Any | Path, folder: Path, *, base: str | None = None) -> None:
    """Write the trained model as a Hugging Face folder with its processor; whole or absent. Called by all ranks.

    Args:
        trainer: after `run()`. Under ZeRO-3 the weights are gathered.
        processor: saved beside the model; or the checkpoint whose processor's files are copied as they are, the video part included, which
            is never loaded here.
        folder: must not exist yet.
        base: with LoRA, the checkpoint that the adapters are merged into.
    """
    part = folder.with_name(folder.name + ".part")
    if trainer.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
    if trainer.args.world_size > 1:
        dist.barrier()
    trainer.save_model(str(part))
    if trainer.args.world_size > 1:
        dist.barrier()
    if trainer.is_world_process_zero():
        if base is not None:
            _merge_adapters(part, base)
        if isinstance(processor, Path):
            copy_processor(processor, part)
        else:
            processor.save_pretrained(str(part))
        (part / "training_args.bin").unlink(missing_ok=True)  # a pickle; nothing needs it
        part.rename(folder)
    if trainer.args.world_size > 1:
        dist.barrier()


def copy_processor(source: Path, target: Path) -> list[str]:
    """Copy a checkpoint's processor; returns the names of its files."""
    names = sorted({path.name for pattern in PROCESSOR_FILES for path in source.glob(pattern)})
    for name in names:
        shutil.copyfile(source / name, target / name)
    return names


def _merge_adapters(part: Path, base: str) -> None:
    """Replace the adapter folder by the merged model, so that later stages load an ordinary checkpoint."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # under ZeRO-3 this rank alone would wait for the others inside from_pretrained
    model = AutoModelForImageTextToText.from_pretrained(base)
    merged = PeftModel.from_pretrained(model, str(part)).merge_and_unload()
    for file in part.glob("adapter_*"):
        file.unlink()
    merged.save_pretrained(str(part))
