"""Configuration of the benchmarks that a recipe's rows are measured on."""

from __future__ import annotations

from dataclasses import dataclass

from inbol.config.checks import at_least, positive
from inbol.config.data import ScoreConfig
from inbol.config.identity import added

TINY = "tiny"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """One benchmark: `benchmark.<name>` of a run."""

    path: str = TINY
    """Folder of the released files and pictures (docs/benchmarks.md says which). `tiny` makes a small instance in the same format from the
    source's own images of the evaluated split, which shows that the path works and compares with nothing published."""
    max_new_tokens: int | None = None
    """Longest response, end-of-sequence included; null takes `predict.max_new_tokens`."""
    tiny_images: int = 16
    """Images of a tiny instance, at most."""
    seed: int = 0
    """Seed of what the benchmark draws: the order of options, a tiny instance."""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path: the folder of the released files, or 'tiny'")
        if self.max_new_tokens is not None:
            positive("max_new_tokens", self.max_new_tokens)
        positive("tiny_images", self.tiny_images)
        at_least("seed", self.seed, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkDataStage:
    """`benchmark_data`: a benchmark's released files -> shards and `items.jsonl`."""

    benchmark: str
    path: str
    """As in `BenchmarkConfig`."""
    seed: int
    tiny_images: int = 0
    """Images of a tiny instance; 0 for released files."""
    split: str = ""
    """Split of those images; empty for released files."""
    max_pixels: int = 0
    """As in `SourceConfig`."""
    images_per_shard: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScoreStage:
    """`benchmark_score`: grades and numbers of one system on one benchmark, recomputable without a model."""

    benchmark: str
    seed: int
    """As in `BenchmarkConfig`."""
    score: ScoreConfig
    judge_decides: bool = added(False)
    """Whether a judge's finding that a response refuses takes the place of the rules'."""
