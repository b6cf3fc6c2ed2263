"""What nothing reads is not computed: the last layer elsewhere than where it is read, and tower layers behind the features.

What leaves the last decoder layer at a position is read by the output head alone, and the head reads what predicts a response token or is
asked for. For the image and most of the questions that layer is needed for its keys and values and for nothing else: its queries,
attention, output projection and MLP are left out there, forward and backward. What is read stays the same within floating-point noise, and
so does every gradient: the one that would come from the other positions is zero.

Of L layers this saves nearly all but the keys and values of one: a third of a step with two layers, a fifth with four, 3 % with 32.

LLaVA-1.5 takes its features from the last but one layer of its tower (`vision_feature_layer=-2`); the last one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from inbol.models.families import unwrapped


def skip_unread(model: Any) -> None:
    """Make the last layer of a language model take two more arguments through the keywords of the model's forward:

    - `read`: [M] flattened [B * T] positions whose output is read, each once; at the others the layer's output is of no use.
    - `first_read`: none of them stands before this position of its row.

    Keywords are a layer's own arguments, so one that gradient checkpointing runs again leaves out the same. Without them the layer is what
    it was.

    Args:
        model: a vision-language model of one of our families whose attention is `TREE_ATTENTION`, wrapped by PEFT or DeepSpeed or not.
    """
    model = unwrapped(model)
    last = model.get_decoder().layers[-1]
    layer_class: Any = type(last)
    if not hasattr(layer_class, "heeds_read"):
        last.__class__ = _reading(layer_class)
    for layer in _behind_features(model):
        layer.forward = MethodType(_pass_by, layer)  # bound, so that a copy of the model calls its own layer


def _behind_features(model: Any) -> list[Any]:
    """The tower's layers behind the last one that features are taken from."""
    chosen = getattr(model.config, "vision_feature_layer", -1)
    chosen = [chosen] if isinstance(chosen, int) else chosen
    if -1 in chosen:
        return []
    layers = model.get_encoder("image").encoder.layers
    return list(layers[max(index % (len(layers) + 1) for index in chosen) :])  # index 0 is what enters the first layer


def _pass_by(layer: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_states


@cache
def _reading(layer_class: Any) -> Any:
    """The class of decoder layers with the two arguments. A subclass, since `transformers` checkpoints what a layer's class calls
    `forward`: what an instance calls so would stand outside, and the layer run again would be computed whole."""

    class Reading(layer_class):
        heeds_read = True

        def forward(self, hidden_states: Tensor, *args: Any, read: Tensor | None = None, first_read: int = 0, **kwargs: Any) -> Tensor:
            if read is None:
                whole: Tensor = super().forward(hidden_states, *args, **kwargs)
                return whole
            attention = self.self_attn
            with _at(read, attention.q_proj, shape=hidden_states.shape[:2]), _at(read, attention.o_proj):
                seen, _ = attention(self.input_layernorm(hidden_states), *args, first_query=first_read, **kwargs)
            states = hidden_states.flatten(0, 1)
            chosen = states.index_select(0, read) + seen
            chosen = chosen + self.mlp(self.post_attention_layernorm(chosen))
            return states.index_copy(0, read, chosen).view_as(hidden_states)

    Reading.__name__ = layer_class.__name__  # what `transformers` and DeepSpeed know layers by
    return Reading


@contextmanager
def _at(rows: Tensor, module: Any, *, shape: torch.Size | None = None) -> Iterator[None]:
    """Within, `module` sees [M, D] of [B, T, D], the flattened positions `rows`; with `shape`, (B, T), what comes out has its places among
    zeros. Done by hooks, beside adapters and those with which ZeRO-3 gathers weights."""

    def cut(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1).index_select(0, rows), *args[1:])

    def place(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert shape is not None
        return output.new_zeros(shape.numel(), output.shape[-1]).index_copy(0, rows, output).unflatten(0, shape)

    handles = [module.register_forward_pre_hook(cut)]
    if shape:
        handles.append(module.register_forward_hook(place))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
