"""Configuration of `make plan`: what a checkpoint is made of, and what is assumed about data that has not been read. No stage reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inbol.config.checks import at_least, one_of, positive, within


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A published checkpoint in numbers, so that its memory is known before it is downloaded. Unused by `base.kind=tiny`."""

    of: str = ""
    """Hub id that the numbers are of; they say nothing about another `base.path`."""
    family: str = ""
    """`model_type` of its config.json."""
    text: dict[str, Any] = field(default_factory=dict)
    """`text_config` of its config.json, as far as it shapes the model."""
    vision: dict[str, Any] = field(default_factory=dict)
    """`vision_config` of its config.json, likewise."""
    more: dict[str, Any] = field(default_factory=dict)
    """Other keys of its config.json that shape the model."""
    image_tokens: int = 0
    """Placeholder tokens of a typical image."""
    image_patches: int = 0
    """Positions of the vision tower for it, all tiles together."""
    checkpoint_bytes: int = 2
    """Bytes of a weight as published: what `sample` and `predict` hold."""

    def __post_init__(self) -> None:
        one_of("checkpoint_bytes", self.checkpoint_bytes, (2, 4))
        if self.family:
            positive("image_tokens", self.image_tokens)
            positive("image_patches", self.image_patches)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """What `make plan` assumes."""

    questions_per_image: int = 6
    """Answerable questions per image; those beyond it are added from `unsolvable`."""
    question_tokens: int = 20
    """Tokens of a question and the template around it."""
    response_tokens: int = 12
    """Tokens of a response, end-of-sequence included; refusals are longer, answers shorter."""
    reserve: float = 0.1
    """Share of the GPU's memory that is to stay free: CUDA context, NCCL, fragmentation. In [0, 1)."""

    def __post_init__(self) -> None:
        at_least("questions_per_image", self.questions_per_image, 0)
        positive("question_tokens", self.question_tokens)
        positive("response_tokens", self.response_tokens)
        within("reserve", self.reserve, 0, 0.99)
