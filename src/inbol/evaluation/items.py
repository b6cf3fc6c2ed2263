"""Graded records as columns: what the metrics, bands and slices are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inbol.contracts import Graded
from inbol.evaluation.metrics import Floats, Mask, Values, values

EDGE = 1e-9
"""Confidences are shares of K samples: 7/10 - 0.5 must count as 0.2 although it is a hair below it in binary."""


@dataclass(frozen=True, slots=True)
class Items:
    """Columns of N graded responses, in the order of their keys."""

    keys: tuple[str, ...]
    images: tuple[str, ...]
    """Distinct image keys, sorted."""
    image: NDArray[np.int64]
    """[N] index into `images`."""
    value: Values
    """[N] +1 correct, 0 refused, -1 wrong."""
    base: Values
    """[N] the same of the base model."""
    answerable: Mask
    kind: NDArray[np.str_]
    seen: Mask
    """[N] wording occurs in training splits."""
    level: NDArray[np.int64]
    confidence: Floats
    """[N] the base's c in [0, 1]; 0 beyond the image."""
    fresh: Floats
    """[N] accuracy over fresh samples; nan where none were drawn."""
    logprob: Floats
    """[N] nats, of this system's response."""

    @classmethod
    def of(cls, graded: Sequence[Graded]) -> Items:
        """Columns of `graded`. Raises ValueError for a key that occurs twice."""
        rows = sorted(graded, key=lambda g: g.key)
        keys = tuple(g.key for g in rows)
        if len(set(keys)) != len(keys):
            twice = next(a for a, b in pairwise(keys) if a == b)
            raise ValueError(f"outcomes: key {twice!r} occurs twice; one outcome per question is needed")
        images = tuple(sorted({g.image_key for g in rows}))
        position = {key: i for i, key in enumerate(images)}
        return cls(
            keys=keys,
            images=images,
            image=np.array([position[g.image_key] for g in rows], dtype=np.int64),
            value=values(g.outcome for g in rows),
            base=values(g.base_outcome for g in rows),
            answerable=np.array([g.answerable for g in rows], dtype=bool),
            kind=np.array([g.kind for g in rows], dtype=np.str_),
            seen=np.array([g.wording == "seen" for g in rows], dtype=bool),
            level=np.array([g.level for g in rows], dtype=np.int64),
            confidence=np.array([g.confidence for g in rows], dtype=np.float64),
            fresh=np.array([np.nan if g.fresh_accuracy is None else g.fresh_accuracy for g in rows], dtype=np.float64),
            logprob=np.array([g.logprob for g in rows], dtype=np.float64),
        )

    def bands(self) -> dict[str, Mask]:
        """Masks of the bands of confidence: surely unknown, ambiguous (both ends included), surely known."""
        c = self.confidence
        low, high = c < 0.2 - EDGE, c > 0.8 + EDGE
        return {"c<.2": low, "c=.2-.8": ~low & ~high, "c>.8": high}

    def known(self, tau: float) -> Mask:
        """[N] answerable, and c >= tau."""
        return self.answerable & (self.confidence >= tau - EDGE)
