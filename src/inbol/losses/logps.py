"""From logits to one log-probability per response.

A batch is flat: N response tokens in any order, each with the number of the response it belongs to. Nothing here knows about padding,
prefix trees or models, so a padded batch and a tree give the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target token.

    Args:
        logits: [N, V], any floating dtype. Row n predicts `targets[n]`: the caller has already shifted by one position.
        targets: [N] token ids, int64, each in [0, V). There is no ignore index; leave out what does not count.

    Returns:
        [N] nats, <= 0; float64 for float64 logits, float32 otherwise, since a sum over tokens in bf16 would lose its third digit.

    Raises:
        ValueError: shapes that do not fit.
    """
    if logits.ndim != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [N, V] and targets [N], got {tuple(logits.shape)} and {tuple(targets.shape)}")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide, dim=-1).gather(1, targets.unsqueeze(1)).squeeze(1)


def sum_by_response(token_logps: Tensor, response_index: Tensor, num_responses: int) -> Tensor:
    """Sum token log-probabilities over the tokens of each response.

    Args:
        token_logps: [N] nats.
        response_index: [N] int64 in [0, num_responses); which response a token belongs to, in any order.
        num_responses: R, the number of responses in the batch.

    Returns:
        [R] nats; 0 for a response without tokens. Differentiable in `token_logps`.
    """
    return token_logps.new_zeros(num_responses).index_add(0, response_index, token_logps)


def num_tokens(response_index: Tensor, num_responses: int) -> Tensor:
    """Count the tokens of each response: [N] int64 -> [R] int64, end-of-sequence included where it is a target."""
    return torch.bincount(response_index, minlength=num_responses)
