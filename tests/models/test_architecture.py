"""Shapes from configurations: parameters of published checkpoints, tokens of an image, adapters."""

from __future__ import annotations

from typing import Any

import pytest
import toy
import yaml
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from inbol.models.architecture import published, shape_of
from inbol.models.load import add_lora
from inbol.models.memory import Shape
from inbol.models.tiny import build_config
from launch.compose import CONF

PUBLISHED = {
    "llava-1.5-7b": 7.06, "llava-onevision-7b": 8.03, "qwen2.5-vl-7b": 8.29, "qwen3-vl-8b": 8.77, "smolvlm": 2.25, "internvl3-8b": 7.94,
}  # fmt: skip
"""Billions of parameters as the hub shows them."""
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def numbers(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CONF / "model" / f"{name}.yaml").read_text())["model"])


def shape(name: str) -> Shape:
    model = numbers(name)
    return shape_of(published(model["family"], text=model["text"], vision=model["vision"], more=model.get("more", {})))


def test_every_family_has_a_published_size() -> None:
    assert {path.stem for path in (CONF / "model").glob("*.yaml")} == {*PUBLISHED, "tiny"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_published(name: str) -> None:
    made = shape(name)
    assert round(made.parameters / 1e9, 2) == PUBLISHED[name]
    assert 0.25e9 < made.vision_parameters < 0.7e9
    assert set(ALL) <= set(made.adapters)
    assert made.text.heads % made.text.kv_heads == 0 and made.text.q in (made.text.hidden, 4096)


def test_lora_on_llava_by_hand() -> None:
    """32 layers; q, k, v, o: 4 x 8,192 in and out, gate and up 2 x 15,104, down 15,104: 78,080 each; times r = 16: 39,976,960."""
    trained = shape("llava-1.5-7b").trained(lora_rank=16, target_modules=ALL, freeze_vision_tower=True)
    assert trained == 16 * 32 * (4 * 8192 + 3 * 15104) == 39_976_960


def test_a_real_tiny_model_is_counted_exactly() -> None:
    """Parameters, those of the tower, and adapters as `add_lora` makes them; tied embeddings count once."""
    made = toy.model()
    counted = shape_of(
        build_config(
            vocab_size=made.config.text_config.vocab_size,
            image_size=16,
            patch_size=8,
            hidden_size=32,
            vision_layers=1,
            text_layers=2,
            heads=2,
        )
    )
    assert counted.parameters == sum(p.numel() for p in made.parameters())
    assert counted.vision_parameters == sum(p.numel() for name, p in made.named_parameters() if "vision_tower" in name)
    adapted = add_lora(made, r=4, alpha=8, dropout=0.0, target_modules=ALL)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert counted.trained(lora_rank=4, target_modules=ALL, freeze_vision_tower=True) == trained


def test_image_tokens_are_what_the_library_makes_of_640_by_480() -> None:
    for name, factor in (("qwen2.5-vl-7b", 28), ("qwen3-vl-8b", 32)):
        height, width = smart_resize(480, 640, factor=factor, min_pixels=56 * 56, max_pixels=16384 * 28 * 28)
        tokens = height * width // factor**2
        assert (numbers(name)["image_tokens"], numbers(name)["image_patches"]) == (tokens, 4 * tokens)
    columns, rows = get_optimal_tiled_canvas((480, 640), (448, 448), 1, 12)
    tiles = columns * rows + 1
    assert (numbers("internvl3-8b")["image_tokens"], numbers("internvl3-8b")["image_patches"]) == (256 * tiles, 1025 * tiles)
    assert (numbers("llava-1.5-7b")["image_tokens"], numbers("llava-1.5-7b")["image_patches"]) == (24 * 24, 24 * 24 + 1)
    unpadded, newlines = LlavaOnevisionProcessor._get_unpadded_features(_NineTiles(), 480, 640, 27, 27, 2, 2)  # type: ignore[arg-type]
    assert numbers("llava-onevision-7b")["image_tokens"] == 27 * 27 + unpadded + newlines
    assert numbers("smolvlm")["image_tokens"] == 81 * (4 * 3 + 1)


class _NineTiles:
    """All that the method looks at."""

    vision_aspect_ratio = "anyres_max_9"


def test_a_wrong_number_is_named() -> None:
    with pytest.raises(ValueError, match=r"^model\.text: LlamaConfig has no hiden_size; it has .*hidden_size"):
        published("llava", text={"model_type": "llama", "hiden_size": 8}, vision={"model_type": "clip_vision_model"}, more={})
    with pytest.raises(ValueError, match=r"^model\.family: 'lava' does not make a configuration"):
        published("lava", text={}, vision={}, more={})
