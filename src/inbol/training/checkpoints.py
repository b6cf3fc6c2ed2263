"""Checkpoints that are complete or ignored, and the export to an ordinary Hugging Face folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist

from inbol.shards.files import write_text

COMPLETE = "COMPLETE"
PROCESSOR_FILES = (
    "*processor_config.json", "chat_template*", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt",
    "*.model",
)  # fmt: skip
"""Files of a checkpoint that are its processor's, by pattern."""


def write_marker(folder: Path) -> None:
    """Mark a checkpoint folder as complete; the last thing written into it."""
    write_text(folder / COMPLETE, "all ranks have written their part\n")


def last_complete(folder: Path, *, remove_others: bool) -> Path | None:
    """The newest checkpoint with a COMPLETE marker, or None. Half-written ones are removed by the rank that says so."""
    found = {int(p.name.split("-")[1]): p for p in folder.glob("checkpoint-*") if p.name.split("-")[1].isdigit()}
    complete = [step for step, path in found.items() if (path / COMPLETE).exists()]
    for step, path in found.items():
        if step not in complete and remove_others:
            shutil.rmtree(path, ignore_errors=True)
    return found[max(complete)] if complete else None


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
