"""Attention below prefix trees: plain causal up to the first token with siblings before it, masked after it.

A mask for all T x T pairs makes the kernels do twice the work of a causal one, and on GPUs rules flash attention out. But the prefix, with
the image most of a row, is plain causal, and so are the first question and its first response: what they do not see comes after them. So
the mask is given for the queries after these alone: [B, 1, T - C, T], C the causal positions of all rows, and each of the two parts is
computed by the kernel that fits. With one question and one response a row C is T, and there is no mask.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from inbol.models.families import unwrapped

TREE_ATTENTION = "inbol_tree"
"""Name for `attn_implementation`; ordinary masks get PyTorch's ordinary sdpa."""


def tree_attention_forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    first_query: int = 0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As `transformers`' sdpa: query, key and value [B, heads, T, D] in, [B, T, heads, D] out.

    Args:
        module: the attention layer.
        query: of T tokens.
        key: of T tokens, of fewer heads with grouped queries.
        value: of T tokens.
        attention_mask: None, an ordinary mask of T rows, or one of the last T - C rows before which tokens see what came earlier; with
            C = T, a mask of no rows, attention is plain causal.
        dropout: of the attention weights.
        scaling: of the scores.
        is_causal: as there.
        first_query: queries before this one are not computed; their output is zero.
        kwargs: passed on.
    """
    if first_query:
        read = _causal_rows(query, attention_mask, first_query)
        output, _ = sdpa_attention_forward(module, query[:, :, first_query:], key, value, read, dropout, scaling, is_causal, **kwargs)
        return F.pad(output, (0, 0, 0, 0, first_query, 0)), None
    if attention_mask is None or attention_mask.shape[-2] >= query.shape[2]:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
        return output, None
    masked = attention_mask.shape[-2]
    causal = query.shape[2] - masked
    early, late = query.split([causal, masked], dim=2)
    first, _ = sdpa_attention_forward(module, early, key[:, :, :causal], value[:, :, :causal], None, dropout, scaling, True, **kwargs)
    if masked == 0:
        return first, None
    rest, _ = sdpa_attention_forward(module, late, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    return torch.cat([first, rest], dim=1), None


def _causal_rows(query: Tensor, attention_mask: Tensor | None, first: int) -> Tensor:
    """The mask, to be added to scores, of the queries from `first` on: what `attention_mask` says of the last ones, causal before those."""
    length = query.shape[2]
    mask = query.new_zeros(1, 1, 0, length) if attention_mask is None else attention_mask
    given = mask[:, :, max(0, first + mask.shape[2] - length) :]
    causal = torch.full((length - first - given.shape[2], length), float("-inf"), dtype=query.dtype, device=query.device).triu(first + 1)
    return torch.cat([causal.expand(len(given), 1, -1, -1), given], dim=2)


def splits_masks(model: Any) -> bool:
    """Whether the language model of `model`, wrapped by PEFT or DeepSpeed or not, runs `tree_attention_forward`."""
    config = unwrapped(model).config
    config = getattr(config, "text_config", config)
    return bool(getattr(config, "_attn_implementation", "") == TREE_ATTENTION)


AttentionInterface.register(TREE_ATTENTION, tree_attention_forward)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
