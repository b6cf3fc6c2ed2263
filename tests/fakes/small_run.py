"""A finished run in miniature: real shards, records, checkpoint, score and manifests below links, as `make train` leaves them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import toy

from inbol.contracts import Question, VqaSample
from inbol.shards.files import write_records, write_text
from inbol.shards.manifest import write_manifest
from inbol.shards.writer import write_shard
from launch.compose import compose_run
from launch.runs import freeze

SCORES = {
    "split": "test",
    "held_out": ["other-modality"],
    "interval": "95 % percentile bootstrap",
    "slices": {
        "answerable": {
            "T0": {"value": 0.65, "low": 0.62, "high": 0.68, "n": 3242},
            "Acc": {"value": 0.75, "low": None, "high": None, "n": 3242},
            "RefR": {"value": None, "low": None, "high": None, "n": 0},
        },
        "unsolvable": {"RefR": {"value": 0.94, "low": 0.93, "high": 0.95, "n": 2437}},
    },
}


def finish(folder: Path, stage: str, config: dict[str, Any], **facts: Any) -> Path:
    """Write the manifest; the fingerprint is the stage's name."""
    common: dict[str, Any] = {"stage_version": 1, "parents": {}, "seconds": 1.0, "world_size": 1}
    write_manifest(folder, stage=stage, fingerprint=f"{stage}-print", config=config, facts=facts, **common)
    return folder


def stages(root: Path) -> dict[str, Path]:
    """Folders `ingest`, `sft_data` and `pairs` of the toy set, two record files each."""
    colors = list(toy.COLORS)
    folders = {name: root / name / f"{name}-print" for name in ("ingest", "sft_data", "pairs")}
    for number, some in enumerate((colors[:4], colors[4:])):
        samples = []
        for color in some:
            buffer = io.BytesIO()
            toy.image(color).save(buffer, format="PNG")
            question = Question(key=f"{color}-q0", image_key=color, text=toy.WHAT, answers=(color,))
            image = {"image": buffer.getvalue(), "image_format": "png", "split": "align-train", "source": "toy"}
            samples.append(VqaSample(key=color, questions=(question,), meta={"level": 0}, **image))
        name = f"align-train-{number:06d}"
        write_shard(folders["ingest"] / f"{name}.tar", samples)
        write_records(folders["sft_data"] / f"{name}.jsonl", [one for one in toy.sft_examples() if one.image_key in some])
        write_records(folders["pairs"] / f"{name}.jsonl", [one for one in toy.pairs() if one.image_key in some])
    finish(folders["ingest"], "ingest", {"source": {"name": "easy-vqa", "path": "/home/me/secret"}}, images={"align-train": 6})
    finish(folders["sft_data"], "sft_data", {"sft_data": {"method": "soft"}, "seed": 0}, examples_by_role={"answer": 6})
    finish(folders["pairs"], "pairs", {"pairs": {"form": "single"}, "seed": 0}, pairs_by_role={"answerable": 12})
    return folders


def run(root: Path, *, overrides: tuple[str, ...] = (), scored: bool = True) -> Path:
    """A run folder with data stages, `sft` and `dpo` with a tiny checkpoint, and a score of `dpo`."""
    folders = stages(root)
    for row in ("sft", "dpo"):
        folders[row] = root / row / f"{row}-print"
        toy.model().save_pretrained(folders[row] / "checkpoint")
        toy.processor().save_pretrained(folders[row] / "checkpoint")
        finish(folders[row], row, {row: {"loss": "soft", "optim": {"lr": 0.001}}, "peft": {"kind": "lora"}, "api_key": "abc"})
    if scored:
        folders["score-dpo"] = root / "score" / "score-print"
        write_text(folders["score-dpo"] / "scores.json", json.dumps(SCORES))
        finish(folders["score-dpo"], "score", {})
    folder = root / "inbol-dpo-smoke-20260102-030405"
    folder.mkdir(parents=True)
    for name, target in folders.items():
        (folder / name).symlink_to(Path("..") / target.relative_to(root), target_is_directory=True)
    freeze(folder, compose_run("inbol-dpo", "smoke", overrides), list(overrides))
    return folder
