"""The supervised loss and the weighted sums that any loss is divided by.

The caller owns the denominator: it adds the terms of every micro-batch on every rank and divides once, so ranks, accumulation and
micro-batches never change a gradient, and weight 1 for all equals no weights.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class WeightedTerms(NamedTuple):
    """One micro-batch's share of a weighted mean; each field is a scalar tensor and adds up over micro-batches and ranks."""

    numerator: Tensor
    """sum_r w_r loss_r; carries the gradient."""
    examples: Tensor
    """sum_r w_r: the denominator of a mean over examples (token-summed losses)."""
    tokens: Tensor
    """sum_r w_r |y_r|: the denominator of a mean over response tokens, TRL's `SFTTrainer` convention when all weights are 1."""


def sft_loss(logps: Tensor) -> Tensor:
    """Negative log-likelihood of each target.

    Args:
        logps: [R] nats, summed over the tokens of each target (`sum_by_response`).

    Returns:
        [R] nats, >= 0, unreduced.
    """
    return -logps


def weighted_terms(loss: Tensor, weights: Tensor, num_tokens: Tensor) -> WeightedTerms:
    """The numerator and the two possible denominators of a weighted mean loss.

    Args:
        loss: [R] unreduced; summed over tokens where `tokens` is to be the denominator.
        weights: [R] >= 0, no gradient. A weight of 0 removes an example (fill-in repeats of the last short batch).
        num_tokens: [R] response tokens of each example.

    Raises:
        ValueError: shapes that differ; broadcasting [R] against [R, 1] would silently sum R^2 products.
    """
    if not loss.shape == weights.shape == num_tokens.shape:
        raise ValueError(
            f"loss, weights and num_tokens must have one shape, got {tuple(loss.shape)}, {tuple(weights.shape)}, {tuple(num_tokens.shape)}"
        )
    return WeightedTerms((weights * loss).sum(), weights.sum(), (weights * num_tokens).sum())
