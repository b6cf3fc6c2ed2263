"""Decoding below prefix trees: the image is prefilled once, each question once, and all K samples of all questions share that cache.

Samples that have drawn the same tokens so far are one node of the tree and cost one row of the next step. Every question has its own
stream of random numbers, so neither batches, nor ranks, nor the order of questions change what is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from inbol.models.head import logits_at
from inbol.models.tree import TreeBatch, forward_trees


@dataclass(slots=True)
class Decoded:
    """What was decoded for one question."""

    ids: list[list[int]]
    """[K] token ids, end-of-sequence included where it was reached; fewer than K where there were enough."""
    logprobs: list[float]
    """[K] nats at temperature 1, summed over the response tokens; as many as there are ids."""


def uniforms(seed: int, key: str, samples: int, steps: int) -> np.ndarray:
    """[samples, steps] uniform numbers in [0, 1) that belong to this question alone (Philox, keyed by seed and question key)."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return generator.random((samples, steps))


def draw(logits: Tensor, u: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Tokens by inversion of the cumulative distribution.

    Args:
        logits: [S, V], one row a sample.
        u: [S] uniform numbers in [0, 1).
        temperature: > 0.
        top_p: nucleus mass in (0, 1]; the smallest set of tokens with at least this mass is kept.

    Returns:
        [S] token ids.
    """
    probs = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1.0:
        ordered, order = probs.sort(dim=-1, descending=True)
        kept = ordered.cumsum(-1) - ordered < top_p
        probs = torch.zeros_like(probs).scatter(1, order, ordered * kept)
    cdf = probs.cumsum(-1)
    return torch.searchsorted(cdf, (u.double() * cdf[:, -1])[:, None], right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


@torch.inference_mode()
def decode_trees(
    model: Any,
    batch: TreeBatch,
    *,
    eos_token_id: int,
    max_new_tokens: int,
    random: Sequence[np.ndarray] | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    enough: Callable[[int, list[list[int]]], bool] | None = None,
) -> list[list[Decoded]]:
    """Decode every branch of every tree.

    Args:
        model: a `transformers` vision-language model in eval mode.
        batch: collated trees without responses, on the model's device.
        eos_token_id: ends a response.
        max_new_tokens: longest response, end-of-sequence included.
        random: one [K, max_new_tokens] array of uniforms per branch, tree by tree; None decodes greedily (K = 1).
        temperature: of the sampling distribution.
        top_p: of the sampling distribution.
        enough: given the number of a branch, tree by tree, and those of its responses that have ended, in the order of their samples,
            whether it needs no more; asked whenever some have ended and others have not. True drops the others where they stand. Those
            that are returned are the same with and without it.

    Returns:
        Per tree and branch, the K responses; fewer where there were `enough`.
    """
    device = batch.inputs["input_ids"].device
    cache = DynamicCache()
    rows = [row for row, ends in zip(batch.tree_rows, batch.prompt_ends, strict=True) for _ in ends]
    ends = [end for ends in batch.prompt_ends for end in ends]
    first = batch.inputs["input_ids"].shape[1] - batch.keep
    row = torch.tensor(rows, device=device)  # [Q] row of a question
    end = torch.tensor(ends, device=device)
    with logits_at(model, row * batch.keep + end - first):
        out = forward_trees(model, batch, past_key_values=cache, use_cache=True)
    logits = out.logits[0]  # [M, V], one row a node; at first the questions themselves
    visible = batch.inputs["attention_mask"][row, 0, end]  # [M, T] what a node's token sees
    position = batch.inputs["position_ids"][..., row, end].reshape(-1, len(row))[0]  # text advances all axes of mrope together
    node_row, num_rows = row, len(batch.prompt_ends)

    samples = 1 if random is None else random[0].shape[0]
    u = None if random is None else torch.from_numpy(np.concatenate(random)).to(device)  # [S, steps]
    total = len(rows) * samples
    node = torch.arange(len(rows), device=device).repeat_interleave(samples)  # [S] node of a live sample
    alive = torch.arange(total, device=device)
    ids = torch.full((total, max_new_tokens), eos_token_id, device=device)
    counts = torch.zeros(total, dtype=torch.long, device=device)
    logprobs = torch.zeros(total, dtype=torch.float64, device=device)
    ended = torch.zeros(total, dtype=torch.bool, device=device)
    for step in range(max_new_tokens):
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        token = logits.argmax(-1)[node] if u is None else draw(logits[node], u[alive, step], temperature=temperature, top_p=top_p)
        ids[alive, step] = token
        counts[alive] += 1
        logprobs[alive] += log_probs[node, token].double()
        going = (token != eos_token_id) & (step + 1 < max_new_tokens)
        ended[alive[~going]] = True
        if enough:
            more, less = alive[going] // samples, alive[~going] // samples
            for branch in torch.unique(less[torch.isin(less, more)]).tolist():
                own = branch * samples + torch.nonzero(ended[branch * samples : (branch + 1) * samples]).flatten()
                if enough(branch, [row[:count] for row, count in zip(ids[own].tolist(), counts[own].tolist(), strict=True)]):
                    going &= alive // samples != branch
        if not bool(going.any()):
            break
        alive, parent, token = alive[going], node[going], token[going]
        merged, node = torch.unique(parent * logits.shape[1] + token, return_inverse=True)  # equal prefixes are one node
        parent, token = merged // logits.shape[1], merged % logits.shape[1]
        node_row, position = node_row[parent], position[parent] + 1
        live = torch.unique(node_row)
        if 2 * len(live) <= num_rows:  # rows without a live sample would be computed like the others
            cache.batch_select_indices(live)
            node_row, num_rows = torch.searchsorted(live, node_row), len(live)
        logits, visible = _feed(model, cache, token, node_row, position, visible[parent], num_rows)
    return _collect(ids.tolist(), counts.tolist(), logprobs.tolist(), ended.tolist(), batch, samples)


def _feed(
    model: Any, cache: DynamicCache, token: Tensor, row: Tensor, position: Tensor, visible: Tensor, num_rows: int
) -> tuple[Tensor, Tensor]:
    """Feed one token per node; returns the nodes' next-token logits [M, V] and what they see now [M, T + width].

    `parent * V + token` was sorted and questions are numbered row by row, so nodes of a row stand together and their slot in the row is
    their rank in it.
    """
    per_row = torch.bincount(row, minlength=num_rows)
    width = int(per_row.max())
    starts = per_row.cumsum(0) - per_row
    slot = torch.arange(len(row), device=row.device) - starts[row]
    past = visible.shape[1]
    visible = torch.cat([visible, torch.zeros(len(row), width, dtype=torch.bool, device=row.device)], dim=1)
    visible[torch.arange(len(row), device=row.device), past + slot] = True
    mask = torch.zeros(num_rows, width, past + width, dtype=torch.bool, device=row.device)
    mask[:, torch.arange(width), past + torch.arange(width)] = True  # empty slots see themselves: no empty softmax
    mask[row, slot] = visible
    input_ids = torch.zeros(num_rows, width, dtype=torch.long, device=row.device)
    position_ids = torch.zeros_like(input_ids)
    input_ids[row, slot] = token
    position_ids[row, slot] = position
    out = model(input_ids=input_ids, attention_mask=mask[:, None], position_ids=position_ids, past_key_values=cache, use_cache=True)
    return out.logits[row, slot], visible


def _collect(
    ids: list[list[int]], counts: list[int], logprobs: list[float], ended: list[bool], batch: TreeBatch, samples: int
) -> list[list[Decoded]]:
    decoded, at = [], 0
    for ends in batch.prompt_ends:
        branches = []
        for _ in ends:
            part = [s for s in range(at, at + samples) if ended[s]]
            branches.append(Decoded(ids=[ids[s][: counts[s]] for s in part], logprobs=[logprobs[s] for s in part]))
            at += samples
        decoded.append(branches)
    return decoded
