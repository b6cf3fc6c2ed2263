"""Confidence and semantic entropy as text: behind the question, as UAlign (arXiv 2412.11803) shows them, and as a response to be learnt."""

from __future__ import annotations

import re

from inbol.contracts import Features

SHOWN = "{question}\n### Conf ###: {confidence:.1f}\n### Entro ###: {entropy:.1f}\n"
"""UAlign's own form (its released code)."""
SAID = "{confidence:.1f} {entropy:.1f}"
"""What the model that predicts both says; ours."""
_READ = re.compile(r"([01]\.\d) (\d\.\d)")


def with_features(question: str, features: Features) -> str:
    """The question with both behind it, to one decimal."""
    return SHOWN.format(question=question, confidence=features.confidence, entropy=features.entropy)


def say_features(features: Features) -> str:
    """Both as a response."""
    return SAID.format(confidence=features.confidence, entropy=features.entropy)


def read_features(text: str) -> tuple[float, float] | None:
    """(confidence, entropy) of a response; None for one that is not of the form, or whose confidence is above 1."""
    found = _READ.fullmatch(text.strip())
    if found is None or float(found[1]) > 1:
        return None
    return float(found[1]), float(found[2])
