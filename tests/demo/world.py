"""A finished run in small: stage folders with manifests and a run folder, whose checkpoints are random models of the toy set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import toy
import yaml

from inbol.contracts import Question, VqaSample
from inbol.shards.files import write_records
from inbol.shards.writer import write_shard

RUN = "inbol-dpo-tiny-20261122-120000"
PARENTS: dict[str, dict[str, str]] = {
    "ingest": {},
    "unsolvable": {"vqa": "ingest"},
    "base": {"vqa": "ingest"},
    "pairs": {"vqa": "ingest", "unsolvable": "unsolvable"},
    "sft": {"vqa": "ingest", "model": "base"},
    "dpo": {"vqa": "ingest", "model": "sft", "pairs": "pairs"},
    "report": {"vqa": "ingest"},
}


def number(stage: str) -> str:
    """A fingerprint."""
    return f"{stage:0<16}"


def write_stage(runs: Path, stage: str, *, parents: dict[str, str] | None = None, name: str = "", config: Any = None) -> Path:
    """A complete stage folder without its outputs."""
    folder = runs / stage / (name or number(stage))
    folder.mkdir(parents=True, exist_ok=True)
    own = PARENTS[stage] if parents is None else parents
    manifest = {
        "stage": stage,
        "fingerprint": folder.name,
        "parents": {role: number(other) for role, other in own.items()},
        "config": config or {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_checkpoint(folder: Path, seed: int) -> Path:
    """A random toy model."""
    toy.model(seed).save_pretrained(folder)
    toy.processor().save_pretrained(folder)
    return folder


def write_data(runs: Path) -> None:
    """Six pictures in two levels, each with a question that it answers and one that it does not."""
    samples, beyond = [], []
    for n, color in enumerate(toy.COLORS):
        path = runs / f"{color}.png"
        toy.image(color).save(path)
        question = Question(key=f"{color}-q0", image_key=color, text=toy.WHAT, answers=(color,), kind="color")
        samples.append(
            VqaSample(
                key=color, image=path.read_bytes(), image_format="png", split="test", source="toy", questions=(question,),
                meta={"level": 1 - n % 2},
            )
        )  # fmt: skip
        beyond.append(
            Question(key=f"{color}-u0", image_key=color, text=toy.WHO, answerable=False, kind="context-dependent", reason="it is not said")
        )
        path.unlink()
    write_shard(runs / "ingest" / number("ingest") / "test-000000.tar", samples)
    write_records(runs / "unsolvable" / number("unsolvable") / "test-000000.jsonl", beyond)


def write_run(runs: Path, name: str = RUN, rows: tuple[str, ...] = ("base", "threshold", "sft", "dpo")) -> Path:
    """A run folder with links to its stages."""
    run = runs / name
    run.mkdir(parents=True)
    (run / "resolved.yaml").write_text(yaml.safe_dump({"recipe": {"rows": list(rows), "labels": {"sft": "CA-SFT", "dpo": "CA-DPO"}}}))
    for stage in PARENTS:
        (run / stage).symlink_to(Path("..") / stage / number(stage))
    return run


def finished(runs: Path, *, models: bool = True) -> Path:
    """The whole run; `models=False` puts an empty config.json where a checkpoint would be. Returns its folder."""
    for stage in PARENTS:
        folder = write_stage(runs, stage)
        if stage in ("base", "sft", "dpo"):
            (folder / "checkpoint").mkdir()
            (folder / "checkpoint" / "config.json").write_text("{}")
            if models and stage != "sft":
                write_checkpoint(folder / "checkpoint", seed={"base": 3, "dpo": 5}[stage])
    own = {"model": "dpo", "vqa": "ingest", "unsolvable": "unsolvable"}
    write_stage(runs, "predict", parents=own, config={"prompt": "level-0.6", "predict": {"max_new_tokens": 5}})
    write_data(runs)
    return write_run(runs)
