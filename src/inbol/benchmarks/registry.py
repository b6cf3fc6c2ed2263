"""The benchmarks by name."""

from __future__ import annotations

import dataclasses

from inbol.benchmarks.answerability import Answerability
from inbol.benchmarks.base import Benchmark
from inbol.benchmarks.clamber import Clamber
from inbol.benchmarks.mm_sap import MmSap
from inbol.benchmarks.mohobench import MoHoBench
from inbol.benchmarks.mub import Mub
from inbol.benchmarks.perturb import DEGREE, WordNoise
from inbol.benchmarks.pope import Pope
from inbol.benchmarks.vqa import Vqa

BENCHMARKS: dict[str, Benchmark] = {
    "mohobench": MoHoBench(),
    "mm_sap": MmSap(),
    "answerability": Answerability(),
    "pope": Pope(),
    "vqa": Vqa(),
    "mub": Mub(),
    "clamber": Clamber(),
}
"""Each file of this package adds its own here."""


def files_of(name: str) -> str:
    """The benchmark whose files this one reads: `vqa` for `vqa+misspelling-5`."""
    return name.partition("+")[0]


def open_benchmark(name: str, *, seed: int) -> Benchmark:
    """The benchmark; one that draws anything (a dataclass with a field `seed`) draws by this seed.

    `<name>+<kind>` and `<name>+<kind>-<degree>` are the benchmark `name` with word noise (`perturb.py`).

    Raises:
        ValueError: there is no such benchmark, or no such noise.
    """
    name, plus, noise = name.partition("+")
    if plus:
        kind, _, degree = noise.partition("-")
        if degree and not degree.isdecimal():
            raise ValueError(f"benchmark: the degree of {noise!r} is no number; write {name}+misspelling-5")
        return WordNoise(open_benchmark(name, seed=seed), kind=kind, degree=int(degree or DEGREE), seed=seed)
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark: {name!r} is not one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    if dataclasses.is_dataclass(benchmark) and any(field.name == "seed" for field in dataclasses.fields(benchmark)):
        return dataclasses.replace(benchmark, seed=seed)
    return benchmark
