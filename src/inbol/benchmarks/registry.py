"""The benchmarks by name."""

from __future__ import annotations

from inbol.benchmarks.base import Benchmark

BENCHMARKS: dict[str, Benchmark] = {}
"""Each file of this package adds its own here."""
