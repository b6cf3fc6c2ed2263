"""Random streams by name, so that what is drawn for one image never depends on what was drawn for another."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random stream of these names: equal seed and names give equal draws, on any machine and in any order of calls."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
