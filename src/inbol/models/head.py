"""Log-probabilities straight from a model's output head, at the positions that predict a response token and nowhere else.

A vision-language model computes logits [B, T, V] by default: gigabytes for a vocabulary of 150,000, of which a few hundred rows are read.
Here the head sees only those rows, and where even they are large it works through them in pieces that the backward pass makes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from inbol.losses.logps import token_logps

MAX_LOGITS = 2**26
"""Largest number of logits [rows x vocabulary] held at once: 256 MB in fp32. More rows are worked through in pieces."""


def gather_rows(hidden: Tensor, rows: Tensor) -> Tensor:
    """[N, D] of the flattened [B * T, D] positions `rows`."""
    return hidden.reshape(-1, hidden.shape[-1])[rows]


@contextmanager
def logits_at(model: Any, rows: Tensor) -> Iterator[None]:
    """Within, the model's logits are [1, N, V]: those of the flattened positions `rows` [N] of what reaches the head."""

    def only(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (gather_rows(args[0], rows)[None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(only)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def states_at(model: Any, rows: Tensor) -> Iterator[list[Tensor]]:
    """As `logits_at`, and the list it gives holds what reached the head there, [N, D], after each forward pass."""
    found: list[Tensor] = []

    def only(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        found.append(gather_rows(args[0], rows))
        return (found[-1][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(only)
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def logps_at(model: Any, rows: Tensor, targets: Tensor) -> Iterator[None]:
    """Within, the model's "logits" are [1, N, 1]: the log-probability in nats of `targets` [N] at the flattened positions `rows` [N].

    The head's own `forward` is wrapped, not bypassed: hooks around it (ZeRO-3 gathers its weight there) and adapters in it stay at work.
    """
    head = model.get_output_embeddings()
    own = head.forward
    before = vars(head).get("forward")  # set where a library has wrapped the head itself

    def piece(hidden: Tensor, wanted: Tensor) -> Tensor:
        return token_logps(own(hidden), wanted)

    def forward(hidden: Tensor) -> Tensor:
        chosen = gather_rows(hidden, rows)
        size = max(1, MAX_LOGITS // _vocabulary(head))
        if len(rows) <= size:
            logps = piece(chosen, targets)
        else:
            parts = zip(chosen.split(size), targets.split(size), strict=True)
            logps = torch.cat([checkpoint(piece, part, wanted, use_reentrant=False) for part, wanted in parts])
        return logps[None, :, None]

    head.forward = forward
    try:
        yield
    finally:
        del head.forward  # the instance's attribute, which hid the class's method
        if before is not None:
            head.forward = before


def _vocabulary(head: Any) -> int:
    """Rows of the head's weight; under ZeRO-3 the parameter itself is empty between uses and keeps its shape beside."""
    return int(head.out_features)
