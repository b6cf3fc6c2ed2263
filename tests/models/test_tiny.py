"""The tiny model: an ordinary Hugging Face folder, LLaVA-1.5's conversation, and nothing left to chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy
from PIL import Image

from inbol.models.load import load_model, load_processor
from inbol.models.tiny import build_model, build_processor, build_tokenizer
from inbol.models.tree import Branch, Tree, TreeCollator, response_logps


def test_the_saved_folder_is_the_model(tmp_path: Path) -> None:
    """Weights bit for bit, token ids, pixels and log-probabilities, all through the loaders that every stage uses."""
    model, processor = toy.model(1), toy.processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llava"
    files = {path.name for path in tmp_path.iterdir()}
    assert files >= {"model.safetensors", "tokenizer.json", "processor_config.json", "generation_config.json"}

    again, processor_again = load_model(tmp_path).eval(), load_processor(tmp_path)
    state = model.state_dict()
    assert again.state_dict().keys() == state.keys()
    assert len(state) > 20
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    assert again.generation_config.eos_token_id == processor.tokenizer.eos_token_id

    tree = Tree(toy.image("green"), (Branch(toy.WHAT, ("green", toy.REFUSALS[0])), Branch(toy.WHO, (toy.REFUSALS[1],))))
    batch, batch_again = TreeCollator(processor)([tree]), TreeCollator(processor_again)([tree])
    assert all(torch.equal(batch.inputs[name], batch_again.inputs[name]) for name in batch.inputs)
    assert torch.equal(response_logps(model, batch)[0], response_logps(again, batch_again)[0])


def test_the_output_matrix_is_the_input_matrix_also_after_loading(tmp_path: Path) -> None:
    model = toy.model()
    model.save_pretrained(tmp_path)
    for one in (model, load_model(tmp_path)):
        assert one.lm_head.weight.data_ptr() == one.get_input_embeddings().weight.data_ptr()


def test_the_conversation_as_text() -> None:
    assert toy.conversation("who?") == "<s>USER: <image>\nwho? ASSISTANT:"
    assert toy.conversation("who?", "No one.") == "<s>USER: <image>\nwho? ASSISTANT: No one.</s>"


@pytest.mark.parametrize(("image_size", "patch_size", "tokens"), [(16, 8, 4), (32, 8, 16), (32, 4, 64)])
def test_number_of_image_tokens(image_size: int, patch_size: int, tokens: int) -> None:
    """(image size / patch size) squared, whatever the size and shape of the picture; the model takes as many features."""
    tokenizer = build_tokenizer(["USER: \nwho? ASSISTANT: blue"], 300)
    processor = build_processor(tokenizer, image_size=image_size, patch_size=patch_size)
    model = build_model(
        tokenizer, image_size=image_size, patch_size=patch_size, hidden_size=16, vision_layers=1, text_layers=1, heads=2, seed=0
    )
    for size in ((16, 16), (64, 64), (50, 20)):
        text, picture = "<s>USER: <image>\nwho? ASSISTANT:", Image.new("RGB", size)
        inputs = processor(text=[text], images=[picture], add_special_tokens=False, return_tensors="pt")
        assert (inputs["input_ids"] == processor.image_token_id).sum() == tokens
        assert inputs["pixel_values"].shape == (1, 3, image_size, image_size)
        assert model(**inputs).logits.shape == (1, inputs["input_ids"].shape[1], len(tokenizer))


def test_pixels_lie_between_minus_1_and_1() -> None:
    pixels = toy.processor().image_processor(images=[Image.new("RGB", (16, 16), (255, 0, 127))], return_tensors="pt")["pixel_values"]
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1.0, -1.0, 127 / 255 * 2 - 1], abs=1e-6)


def test_the_seed_decides_the_weights() -> None:
    """Whatever was drawn before."""
    first = toy.model(7).state_dict()
    torch.rand(5)
    same, other = toy.model(7).state_dict(), toy.model(8).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_every_weight_is_trained_and_in_fp32() -> None:
    """The default feature layer -2 would leave the tower's last layer without a gradient; here only the norm behind it has none."""
    model = toy.model()
    batch = TreeCollator(toy.processor())([Tree(toy.image("red"), (Branch(toy.WHAT, ("red",)),))])
    response_logps(model, batch)[0].sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == ["model.vision_tower.post_layernorm.weight", "model.vision_tower.post_layernorm.bias"]
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_tokenizer_knows_every_text() -> None:
    """Words it was not trained on fall back to bytes."""
    tokenizer = build_tokenizer(["USER: blue"], 300)
    for text in ("žluťoučký 🐎", "日本", "tabs\tand\nlines"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("<pad>", "<s>", "</s>", "<image>")] == [0, 1, 2, 3]


def test_an_answer_is_a_token_of_its_own() -> None:
    """So that the first token decides between the answers."""
    first = {color: TreeCollator(toy.processor()).encoder.response_ids(color) for color in toy.COLORS}
    assert {len(ids) for ids in first.values()} == {2}
    assert len({ids[0] for ids in first.values()}) == len(toy.COLORS)
