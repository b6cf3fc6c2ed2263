"""What precomputed log-probabilities belong to: hashes of weights, configuration, tokenizer and processor, chat template and pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from inbol.models.load import load_processor
from inbol.shards.files import write_text

BINDING = "binding.json"
PARTS = {
    "model weights": ("*.safetensors",),
    "model configuration": ("config.json",),
    "tokenizer and processor": ("tokenizer*", "*processor_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"),
}
"""Files of a checkpoint by what they are; the chat template is hashed as the processor renders it, wherever it is stored."""


def binding(checkpoint: Path, pairs: Path) -> dict[str, str]:
    """sha256 of everything that log-probabilities of the pairs in `pairs` under the model in `checkpoint` follow from, by name."""
    return model_binding(checkpoint) | {f"pair shard {path.stem}": _digest([path]) for path in sorted(pairs.glob("*-*.jsonl"))}


def model_binding(checkpoint: Path) -> dict[str, str]:
    """sha256 of everything in a checkpoint that its log-probabilities follow from, by name."""
    found = {name: _digest(sorted({path for pattern in patterns for path in checkpoint.glob(pattern)})) for name, patterns in PARTS.items()}
    found["chat template"] = hashlib.sha256(str(load_processor(checkpoint).chat_template).encode()).hexdigest()
    return found


def write_binding(folder: Path, now: dict[str, str]) -> None:
    """Bind `folder`, or check that it is bound to the same. Raises ValueError as `check_binding`."""
    if (folder / BINDING).exists():
        check_binding(folder, now)
    else:
        write_text(folder / BINDING, json.dumps(now, indent=1) + "\n")


def check_binding(folder: Path, now: dict[str, str]) -> None:
    """Refuse log-probabilities of other weights, texts or pairs.

    Raises:
        ValueError: naming what differs from what `folder` was computed with, and the way out.
    """
    path = folder / BINDING
    then = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    differ = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    if differ:
        first = differ[0]
        what = f"{_short(then.get(first))} then, {_short(now.get(first))} now"
        raise ValueError(
            f"the reference log-probabilities in {folder} belong to another {', '.join(differ)} ({first}: {what}); "
            f"delete the folder and run the recipe again"
        )


def _digest(paths: Iterable[Path]) -> str:
    """sha256 over names and contents."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
