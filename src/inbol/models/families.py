"""What differs between model families, in one place: what their processors return, how positions run, and what their parts are called.

Everything else is shared: an image is a run of tokens that the processor puts where the chat template has one placeholder, and the
conversation after it is ordinary text. So prefix trees need only know how long that run is and which positions it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor
from transformers import ProcessorMixin


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture of `transformers`."""

    model_type: str
    """`config.model_type` of its checkpoints."""
    processor: str
    """Class name of its processor."""
    image_inputs: tuple[str, ...]
    """Tensors of the image processor that the model's forward takes; the others are the processor's own business."""
    vision: tuple[str, ...]
    """Parts of parameter names that make the vision tower."""
    projector: tuple[str, ...]
    """Parts of parameter names that make the projector, which is no part of the tower even where its names lie below it."""
    axes: int = 1
    """Position ids of a token: 1, or 3 where rotary embeddings run over time, height and width (mrope)."""

    def in_tower(self, name: str) -> bool:
        """Whether a parameter or module of this name belongs to the vision tower."""
        return any(part in name for part in self.vision) and not any(part in name for part in self.projector)

    def beside_language(self, name: str) -> bool:
        """Whether it belongs to the vision tower or to the projector."""
        return any(part in name for part in (*self.vision, *self.projector))


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            model_type="llava",
            processor="LlavaProcessor",
            image_inputs=("pixel_values",),
            vision=("vision_tower.",),
            projector=("multi_modal_projector.",),
        ),
        Family(
            model_type="llava_onevision",
            processor="LlavaOnevisionProcessor",
            image_inputs=("pixel_values", "image_sizes"),
            vision=("vision_tower.",),
            projector=("multi_modal_projector.", "image_newline"),
        ),
        Family(
            model_type="qwen2_5_vl",
            processor="Qwen2_5_VLProcessor",
            image_inputs=("pixel_values", "image_grid_thw"),
            vision=("visual.",),
            projector=("visual.merger.",),
            axes=3,
        ),
        Family(
            model_type="qwen3_vl",
            processor="Qwen3VLProcessor",
            image_inputs=("pixel_values", "image_grid_thw"),
            vision=("visual.",),
            projector=("visual.merger.", "visual.deepstack_merger_list."),
            axes=3,
        ),
        Family(
            model_type="idefics3",
            processor="Idefics3Processor",
            image_inputs=("pixel_values", "pixel_attention_mask"),
            vision=("vision_model.",),
            projector=("connector.",),
        ),
        Family(
            model_type="internvl",
            processor="InternVLProcessor",
            image_inputs=("pixel_values",),
            vision=("vision_tower.",),
            projector=("multi_modal_projector.",),
        ),
    )
}
"""By `model_type`: LLaVA-1.5, LLaVA-OneVision, Qwen2.5-VL, Qwen3-VL, SmolVLM (the Idefics3 architecture) and InternVL (Hugging Face's)."""


def unwrapped(model: Any) -> Any:
    """The model that a DeepSpeed engine holds, or the model itself. An engine passes on what it lacks, and has a `config` of its own."""
    return getattr(model, "module", model)


def family_of_model(model: Any) -> Family:
    """The family of a model, wrapped by PEFT or DeepSpeed or not. Raises ValueError for one that is not supported."""
    model_type = unwrapped(model).config.model_type
    if model_type not in FAMILIES:
        raise ValueError(f"model type {model_type!r} is not supported; supported are {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def family_of_processor(processor: Any) -> Family:
    """The family of a processor. Raises ValueError for one that is not supported."""
    name = type(processor).__name__
    for family in FAMILIES.values():
        if family.processor == name:
            return family
    raise ValueError(f"processor {name} is not supported; supported are {', '.join(family.processor for family in FAMILIES.values())}")


@cache
def without_video(processor_class: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor class without its video part, which needs torchvision and is not used here; its name and format stay."""

    attributes = [name for name in processor_class.get_attributes() if name != "video_processor"]
    members = {"get_attributes": classmethod(lambda cls: attributes), "__module__": processor_class.__module__}
    return type(processor_class.__name__, (processor_class,), members)


def prefix_positions(family: Family, processor: Any, ids: list[int], image: dict[str, Tensor]) -> tuple[list[list[int]], int]:
    """Positions of the tokens up to the image's end.

    Args:
        family: of the processor.
        processor: names the image token and, for mrope, how many patches are merged into a token.
        ids: L token ids with at most one image.
        image: the image processor's tensors for it.

    Returns:
        (`family.axes` lists of L positions, the position that the next token takes). With mrope (Qwen2-VL, arXiv 2409.12191, section 2.1)
        text advances all axes together; an image of t x h x w merged patches takes its coordinates, and text goes on after the largest.
    """
    if family.axes == 1 or not image:
        return [list(range(len(ids)))] * family.axes, len(ids)
    merge = int(processor.image_processor.merge_size)
    t, h, w = (int(n) for n in image["image_grid_thw"][0])
    h, w = h // merge, w // merge
    start = ids.index(int(processor.image_token_id))
    after = start + t * h * w
    follow = start + max(h, w)
    tail = range(follow, follow + len(ids) - after)
    grid = [(time, row, column) for time in range(t) for row in range(h) for column in range(w)]
    axes = [[*range(start), *(start + place[axis] for place in grid), *tail] for axis in range(3)]
    return axes, follow + len(ids) - after
