"""Configuration of the stages that put confidence and entropy into the prompt (UAlign, arXiv 2412.11803)."""

from __future__ import annotations

from dataclasses import dataclass

TOKENS = 12
"""Longest response of the model that predicts both, in tokens, end-of-sequence included; two numbers in bytes take nine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDataStage:
    """`feature_data`: the measured features as responses to be learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesStage:
    """`features`: confidence and entropy of the questions of one split, measured or as predicted."""

    split: str
    samples: int
    """K; log K is the entropy of a question whose prediction cannot be read."""
