"""Tiny random checkpoints of every family, in the real format: same classes, same special tokens, same chat templates, few parameters.

What runs on them runs on the published ones; what they answer means nothing until they are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, Idefics3Processor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from inbol.models.families import without_video
from inbol.models.load import attention
from inbol.models.tiny import build_tokenizer

TILE, PATCH = 32, 8
"""Pixels of a tile's and of a patch's side. Families that cut pictures up see a 64 x 64 one as four tiles and a small copy of the whole."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}{{ '\n' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PLACEHOLDER{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)
"""Qwen's and InternVL's conversation."""
ONEVISION = (
    "{% for message in messages %}<|im_start|>{{ message['role'] + ' ' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ '\n' + part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}{% endif %}"
)
"""LLaVA-OneVision's: as published, its generation prompt is not how a rendered answer begins ("assistant\\n", "assistant \\n")."""
SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ ' ' + part['text'] }}{% endif %}{% endfor %}<end_of_utterance>{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""SmolVLM's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """How a tiny checkpoint of one family is made."""

    eos: str
    template: str
    specials: dict[str, str] = field(default_factory=dict)
    """Special tokens that the tokenizer names, by attribute."""
    more: tuple[str, ...] = ()
    """Special tokens without a name."""
    processor: Callable[..., Any]
    """(tokenizer, chat_template) -> processor."""
    config: Callable[[Any, int, int], dict[str, Any]]
    """(tokenizer, hidden size, layers) -> fields of the model's configuration."""


def build_tiny(
    model_type: str, texts: Iterable[str], *, vocab_size: int = 400, hidden_size: int = 32, layers: int = 2, seed: int = 0
) -> tuple[Any, Any]:
    """A randomly initialised model in fp32, with attention as loading gives it, and its processor; the same seed gives the same weights.

    Args:
        model_type: one of `BLUEPRINTS`.
        texts: the tokenizer is trained on them; unknown words fall back to bytes.
        vocab_size: of the tokenizer, special tokens included.
        hidden_size: of tower and language model, a multiple of 32.
        layers: of each.
        seed: of the weights.
    """
    plan = BLUEPRINTS[model_type]
    names = list(dict.fromkeys([*plan.specials.values(), *plan.more]))
    tokenizer = build_tokenizer(texts, vocab_size, pad="<|endoftext|>", bos=None, eos=plan.eos, named=plan.specials, more=names)
    processor = plan.processor(tokenizer, plan.template)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **plan.config(tokenizer, hidden_size, layers))
    model = AutoModelForImageTextToText.from_config(config)
    model.set_attn_implementation(attention(model.dtype))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, processor


def _text(tokenizer: Any, hidden: int, layers: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def _vision(hidden: int, layers: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers, "num_attention_heads": 2}
    return {**sizes, "image_size": TILE, "patch_size": PATCH, **more}


def _onevision_processor(tokenizer: Any, template: str) -> Any:
    pinpoints = [[TILE, TILE], [TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]]
    images = LlavaOnevisionImageProcessorPil(size={"height": TILE, "width": TILE}, image_grid_pinpoints=pinpoints)
    return without_video(LlavaOnevisionProcessor)(
        images,
        tokenizer,
        chat_template=template,
        num_image_tokens=(TILE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )


def _onevision_config(tokenizer: Any, hidden: int, layers: int) -> dict[str, Any]:
    return {
        "text_config": _text(tokenizer, hidden, layers, model_type="qwen2"),
        "vision_config": _vision(hidden, layers, model_type="siglip_vision_model", vision_use_head=False),
        "image_token_index": tokenizer.image_token_id,
        "video_token_index": tokenizer.video_token_id,
        "image_grid_pinpoints": [[TILE, TILE], [TILE, 2 * TILE], [2 * TILE, TILE], [2 * TILE, 2 * TILE]],
        "tie_word_embeddings": True,
    }


def _qwen_processor(processor_class: Any, tokenizer: Any, template: str) -> Any:
    size = {"shortest_edge": TILE * TILE, "longest_edge": 4 * TILE * TILE}
    images = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=2, temporal_patch_size=2, size=size)
    return without_video(processor_class)(images, tokenizer, chat_template=template)


def _qwen_config(tokenizer: Any, hidden: int, layers: int, *, three: bool) -> dict[str, Any]:
    head = hidden // 2
    sections = [head // 2 - 2 * (head // 6), head // 6, head // 6]
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections, **({"mrope_interleaved": True} if three else {})}
    deepstack = {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    windows = {"window_size": 4 * PATCH, "fullatt_block_indexes": [layers - 1]}
    vision = {
        "depth": layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_heads": 2,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": hidden,
        **(deepstack if three else windows),
    }
    return {
        "text_config": _text(tokenizer, hidden, layers, rope_parameters=rope, **({"head_dim": head} if three else {})),
        "vision_config": vision,
        "image_token_id": tokenizer.image_token_id,
        "video_token_id": tokenizer.video_token_id,
        "vision_start_token_id": tokenizer.vision_start_token_id,
        "vision_end_token_id": tokenizer.vision_end_token_id,
        "tie_word_embeddings": True,
    }


def _smolvlm_processor(tokenizer: Any, template: str) -> Any:
    images = Idefics3ImageProcessorPil(size={"longest_edge": 2 * TILE}, max_image_size={"longest_edge": TILE}, do_image_splitting=True)
    return Idefics3Processor(images, tokenizer, image_seq_len=(TILE // PATCH // 2) ** 2, chat_template=template)


def _smolvlm_config(tokenizer: Any, hidden: int, layers: int) -> dict[str, Any]:
    return {
        "text_config": _text(tokenizer, hidden, layers, model_type="llama"),
        "vision_config": _vision(hidden, layers),
        "scale_factor": 2,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _internvl_processor(tokenizer: Any, template: str) -> Any:
    images = GotOcr2ImageProcessorPil(size={"height": TILE, "width": TILE}, min_patches=1, max_patches=4)
    return without_video(InternVLProcessor)(images, tokenizer, chat_template=template, image_seq_length=(TILE // PATCH // 2) ** 2)


def _internvl_config(tokenizer: Any, hidden: int, layers: int) -> dict[str, Any]:
    return {
        "text_config": _text(tokenizer, hidden, layers, model_type="qwen2"),
        "vision_config": _vision(hidden, layers, image_size=[TILE, TILE], patch_size=[PATCH, PATCH]),
        "image_token_id": tokenizer.context_image_token_id,
        "image_seq_length": (TILE // PATCH // 2) ** 2,
        "downsample_ratio": 0.5,
        "tie_word_embeddings": True,
    }


def _qwen(processor_class: Any, *, three: bool) -> Blueprint:
    return Blueprint(
        eos="<|im_end|>",
        template=CHATML.replace("PLACEHOLDER", "<|vision_start|><|image_pad|><|vision_end|>"),
        specials={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        },
        more=("<|im_start|>", "<|im_end|>"),
        processor=partial(_qwen_processor, processor_class),
        config=partial(_qwen_config, three=three),
    )


BLUEPRINTS: dict[str, Blueprint] = {
    "llava_onevision": Blueprint(
        eos="<|im_end|>",
        template=ONEVISION,
        specials={"image_token": "<image>", "video_token": "<video>"},
        more=("<|im_start|>", "<|im_end|>"),
        processor=_onevision_processor,
        config=_onevision_config,
    ),
    "qwen2_5_vl": _qwen(Qwen2_5_VLProcessor, three=False),
    "qwen3_vl": _qwen(Qwen3VLProcessor, three=True),
    "idefics3": Blueprint(
        eos="<end_of_utterance>",
        template=SMOLVLM,
        more=(
            "<|im_start|>",
            "<end_of_utterance>",
            "<fake_token_around_image>",
            "<image>",
            "<global-img>",
            *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
        ),
        processor=_smolvlm_processor,
        config=_smolvlm_config,
    ),
    "internvl": Blueprint(
        eos="<|im_end|>",
        template=CHATML.replace("PLACEHOLDER", "<IMG_CONTEXT>{{ '\n' }}"),
        specials={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        more=("<|im_start|>", "<|im_end|>"),
        processor=_internvl_processor,
        config=_internvl_config,
    ),
}
"""By `model_type`; LLaVA-1.5's is `models/tiny.py`, which the tiny world also trains."""
