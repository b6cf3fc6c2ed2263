"""A model's shape from its configuration alone: built on the meta device, so parameters are counted exactly and no weight exists."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from inbol.models.families import family_of_model
from inbol.models.memory import Shape, Tower


def published(family: str, *, text: dict[str, Any], vision: dict[str, Any], more: dict[str, Any]) -> Any:
    """The `transformers` configuration with the numbers of a published config.json; what is absent takes the family's defaults.

    Raises:
        ValueError: a family that `transformers` does not know, or a number that its configuration does not have.
    """
    try:
        config = AutoConfig.for_model(family, text_config=dict(text), vision_config=dict(vision), **more)
    except ValueError as error:
        raise ValueError(f"model.family: {family!r} does not make a configuration ({str(error).splitlines()[0]})") from error
    for name, part, given in (("text", config.text_config, text), ("vision", config.vision_config, vision), ("more", config, more)):
        known = set(type(part).__dataclass_fields__) | set(type(part).attribute_map)
        if wrong := sorted(set(given) - known - {"model_type"}):
            raise ValueError(f"model.{name}: {type(part).__name__} has no {', '.join(wrong)}; it has {', '.join(sorted(known))}")
    return config


def shape_of(config: Any) -> Shape:
    """The shape of the model that a `transformers` vision-language configuration describes. Raises ValueError for an unsupported family."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    family = family_of_model(model)
    adapters: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers." in name and not family.beside_language(f"{name}."):
            last = name.split(".")[-1]
            adapters[last] = adapters.get(last, 0) + module.in_features + module.out_features
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        vision_parameters=sum(p.numel() for name, p in model.named_parameters() if family.in_tower(name)),
        largest_layer=max(sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()),
        text=_tower(config.text_config, qk_norm=any(name.endswith("self_attn.q_norm") for name, _ in model.named_modules())),
        vision=_tower(config.vision_config),
        vocab=config.text_config.vocab_size,
        adapters=adapters,
        keeps_vision_layers=hasattr(config, "vision_feature_layer"),
    )


def _tower(config: Any, *, qk_norm: bool = False) -> Tower:
    heads = config.num_attention_heads
    return Tower(
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        qk_norm=qk_norm,
    )
