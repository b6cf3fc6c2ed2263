"""What a benchmark is: items read from its released files, a grade for each response, and measures over the grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inbol.contracts import VqaSample
from inbol.evaluation.metrics import Measure


class BenchmarkDataMissing(ValueError):
    """Files or images of a benchmark are not there. The message names them, and what to download from where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkItem:
    """One thing that a model is asked."""

    key: str
    """Unique in the benchmark, no dots, no slashes."""
    image: Path | None
    """The picture that is shown; None for a question about none."""
    prompt: str
    """What the model reads besides the picture, whole; no template of ours is put around it."""
    group: str = ""
    """Items that are variants of one question, such as without and with a misleading note, share it; the key's own otherwise."""
    gold: dict[str, Any] = field(default_factory=dict)
    """All that grading and measuring need, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What became of the response to one item."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)
    """Findings of the benchmark, as JSON, such as `{"refused": true, "correct": false}`."""


class Benchmark(Protocol):
    """One benchmark; a file of its own in this package, registered in `registry.py`."""

    name: str

    def read(self, folder: Path) -> list[BenchmarkItem]:
        """The items of the released files in `folder`, in their order.

        Raises:
            BenchmarkDataMissing: a file or an image is missing; never a part passed off as the whole.
            ValueError: a record that cannot be understood; names file, line or number, and what is wrong.
        """
        ...

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        """Grade one response by rules."""
        ...

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        """The benchmark's numbers by name, such as `refusal rate/Vague_Description`, as ratios over the N items in their order, so that
        whole images can be resampled (`evaluation/bootstrap.py`). `grades` holds every item, by key."""
        ...

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        """Write a small instance of the benchmark in its original file format, made from these samples and their images."""
        ...
