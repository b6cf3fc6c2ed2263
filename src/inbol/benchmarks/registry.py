"""The benchmarks by name."""

from __future__ import annotations

import dataclasses

from inbol.benchmarks.answerability import Answerability
from inbol.benchmarks.base import Benchmark
from inbol.benchmarks.mm_sap import MmSap
from inbol.benchmarks.mohobench import MoHoBench
from inbol.benchmarks.pope import Pope
from inbol.benchmarks.vqa import Vqa

BENCHMARKS: dict[str, Benchmark] = {
    "mohobench": MoHoBench(),
    "mm_sap": MmSap(),
    "answerability": Answerability(),
    "pope": Pope(),
    "vqa": Vqa(),
}
"""Each file of this package adds its own here."""


def open_benchmark(name: str, *, seed: int) -> Benchmark:
    """The benchmark; one that draws anything (a dataclass with a field `seed`) draws by this seed.

    Raises:
        ValueError: there is no such benchmark.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark: {name!r} is not one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    if dataclasses.is_dataclass(benchmark) and any(field.name == "seed" for field in dataclasses.fields(benchmark)):
        return dataclasses.replace(benchmark, seed=seed)
    return benchmark
