"""Stage `benchmark_data`: a benchmark's released files become shards that `predict` can read, and the items to grade by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from inbol.benchmarks.base import Benchmark
from inbol.benchmarks.dataset import SPLIT, to_records, to_samples
from inbol.benchmarks.registry import open_benchmark
from inbol.config.benchmarks import TINY, BenchmarkDataStage
from inbol.contracts import VqaSample
from inbol.shards.files import write_records, write_text
from inbol.shards.reader import read_shard, shard_names
from inbol.shards.writer import write_shard
from inbol.stages.job import Job
from inbol.stages.progress import Progress

ITEMS = "items.jsonl"
ABOUT = "about.json"


def run(job: Job) -> dict[str, Any]:
    """Write `items.jsonl`, `about.json`, shards, and beside each shard the empty list of further questions that `predict` looks for.

    Raises:
        BenchmarkDataMissing: files or pictures are missing; nothing but a tiny instance's files is written then.
        ValueError: a record or a picture that cannot be understood.
    """
    config: BenchmarkDataStage = job.config
    benchmark = open_benchmark(config.benchmark, seed=config.seed)
    folder = _make_tiny(job, benchmark) if config.path == TINY else Path(config.path)
    records = to_records(benchmark.read(folder), folder)
    samples = to_samples(records, folder, name=benchmark.name, max_pixels=config.max_pixels)
    images = len({record.image_key for record in records})
    progress = Progress(job)
    for number, done in enumerate(range(0, images, config.images_per_shard)):
        chunk = islice(samples, config.images_per_shard)
        path = job.out / f"{SPLIT}-{number:06d}.tar"
        progress(done, images, path.stem)
        write_shard(path, chunk)
        write_records(path.with_suffix(".jsonl"), [])
    write_records(job.out / ITEMS, records)
    about = {"benchmark": benchmark.name, "items": len(records), "images": images, "made": config.path == TINY}
    notes = getattr(benchmark, "file_notes", None)  # few benchmarks have something to say about their files
    write_text(job.out / ABOUT, json.dumps({**about, "notes": notes(folder) if notes else []}, sort_keys=True) + "\n")
    return about


def _make_tiny(job: Job, benchmark: Benchmark) -> Path:
    """Write a small instance below the stage's folder and return where."""
    config: BenchmarkDataStage = job.config
    folder = job.out / TINY
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(islice(_samples(job.inputs["vqa"], config.split), config.tiny_images))
    if not samples:
        raise ValueError(f"{benchmark.name}: the source has no images in split {config.split!r} to make a tiny instance of")
    benchmark.write_tiny(samples, folder, seed=config.seed)
    return folder


def _samples(vqa: Path, split: str) -> Iterator[VqaSample]:
    for name in shard_names(vqa, [split]):
        yield from read_shard(vqa, name)


def level_of(job: Job) -> float:
    """The level of the sequence probability below which the row `threshold` refuses, from its score; 0 for the other rows."""
    if "threshold" not in job.inputs:
        return 0.0
    return float(json.loads((job.inputs["threshold"] / "scores.json").read_text(encoding="utf-8"))["threshold"]["level"])
