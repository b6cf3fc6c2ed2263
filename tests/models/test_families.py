"""Every family: trees give the numbers of the plain conversation, checkpoints come back from disk, and parts are what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import pytest
import torch
import toy
from PIL import Image

from inbol.config.training import TINY_FAMILIES, PeftConfig
from inbol.models import head
from inbol.models.attention import splits_masks
from inbol.models.families import FAMILIES, family_of_model, family_of_processor
from inbol.models.generate import decode_trees
from inbol.models.load import add_lora, freeze_vision_tower, load_model, load_processor
from inbol.models.tiny_families import BLUEPRINTS
from inbol.models.tree import Branch, Tree, TreeCollator, model_inputs, response_logps

every_family = pytest.mark.parametrize("name", families.NAMES)


@every_family
def test_trees_equal_the_plain_conversation_in_value_and_gradient(name: str) -> None:
    made, plain = families.model(name), families.model(name)
    batch = TreeCollator(families.processor(name))(families.trees())
    ours, theirs = response_logps(made, batch)[0], families.plain_logps(plain, name, families.trees())
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    weights = torch.linspace(-1, 2, len(ours))
    (weights * ours).sum().backward()
    (weights * theirs).sum().backward()
    expected = {key: parameter.grad for key, parameter in plain.named_parameters() if parameter.grad is not None}
    assert set(expected) == {key for key, parameter in made.named_parameters() if parameter.grad is not None}
    for key, parameter in made.named_parameters():
        if key in expected:
            assert float((parameter.grad - expected[key]).norm()) <= 1e-4 * float(expected[key].norm()) + 1e-6, key


@every_family
@pytest.mark.parametrize("row_tokens", [1, 150, 100_000])
def test_packing_trees_into_rows_changes_nothing(name: str, row_tokens: int) -> None:
    made, asked = families.model(name), families.trees()
    alone = response_logps(made, TreeCollator(families.processor(name))(asked))[0]
    batch = TreeCollator(families.processor(name), row_tokens=row_tokens)(asked)
    assert len(batch.inputs["input_ids"]) == 3 if row_tokens == 1 else len(batch.inputs["input_ids"]) < 3
    torch.testing.assert_close(response_logps(made, batch)[0], alone, atol=1e-4, rtol=1e-5)


@every_family
def test_a_blank_picture_where_a_batch_has_none_changes_no_number_and_runs_the_tower(name: str) -> None:
    made, asked = families.model(name), families.trees()[2:]
    blank = TreeCollator(families.processor(name), always_image=True)(asked)
    plain = TreeCollator(families.processor(name))(asked)
    assert not set(FAMILIES[name].image_inputs) & set(plain.inputs)
    assert set(FAMILIES[name].image_inputs) <= set(blank.inputs)
    with_blank = response_logps(made, blank)[0]
    torch.testing.assert_close(with_blank, response_logps(made, plain)[0], atol=1e-4, rtol=1e-5)
    with_blank.sum().backward()
    tower = [parameter for key, parameter in made.named_parameters() if FAMILIES[name].in_tower(key) and parameter.grad is not None]
    assert tower and all(float(parameter.grad.abs().max()) == 0 for parameter in tower)  # run, and without any say


@every_family
def test_image_tensors_are_those_of_the_whole_processor(name: str) -> None:
    """Two pictures of one size; processors with a text do more than the image processor alone only to the text."""
    processor = families.processor(name)
    pictures = [families.picture("red"), families.picture("green")]
    batch = TreeCollator(processor)([Tree(picture, (Branch(toy.WHAT, ("red",)),)) for picture in pictures])
    text = TreeCollator(processor).encoder.render(toy.WHAT)
    whole = processor(text=[text] * 2, images=[[picture] for picture in pictures], add_special_tokens=False, return_tensors="pt")
    assert set(FAMILIES[name].image_inputs) <= set(batch.inputs)
    for key in FAMILIES[name].image_inputs:
        torch.testing.assert_close(batch.inputs[key], whole[key], atol=0, rtol=0)


@pytest.mark.parametrize("name", [name for name in families.NAMES if FAMILIES[name].axes == 3])
def test_mrope_positions_are_the_models_own(name: str) -> None:
    made, processor = families.model(name), families.processor(name)
    collator = TreeCollator(processor)
    for wide in (False, True):
        batch = collator([Tree(families.picture("red", wide=wide), (Branch(toy.WHAT),))])
        text = collator.encoder.render(toy.WHAT)
        whole = processor(text=[text], images=[families.picture("red", wide=wide)], add_special_tokens=False, return_tensors="pt")
        expected, _ = made.model.get_rope_index(whole["input_ids"], whole["mm_token_type_ids"], image_grid_thw=whole["image_grid_thw"])
        length = expected.shape[-1]
        assert batch.inputs["input_ids"][0, :length].tolist() == whole["input_ids"][0].tolist()
        assert torch.equal(batch.inputs["position_ids"][:, :, :length], expected)


@every_family
def test_a_checkpoint_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    made, processor = families.model(name), families.processor(name)
    made.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, again = load_model(tmp_path).eval(), load_processor(tmp_path)
    assert type(again).__name__ == FAMILIES[name].processor and type(loaded) is type(made)
    assert family_of_model(loaded) is family_of_processor(again) is FAMILIES[name]
    before = response_logps(made, TreeCollator(processor)(families.trees()))[0]
    after = response_logps(loaded, TreeCollator(again)(families.trees()))[0]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, made.state_dict()[key]) for key, value in loaded.state_dict().items())


@every_family
def test_greedy_decoding_equals_generate(name: str) -> None:
    """Two questions below one picture, decoded together, against `generate` on each conversation alone."""
    made, processor = families.model(name), families.processor(name)
    collator = TreeCollator(processor)
    image = families.picture("green", wide=True)
    decoded = decode_trees(
        made,
        collator([Tree(image, (Branch(toy.WHAT), Branch(toy.WHO)))]),
        eos_token_id=collator.encoder.eos_token_id,
        max_new_tokens=8,
    )
    for question, branch in zip((toy.WHAT, toy.WHO), decoded[0], strict=True):
        text = collator.encoder.render(question)
        batch = processor(text=[text], images=[image], add_special_tokens=False, return_tensors="pt")
        known = {key: value for key, value in batch.items() if key not in ("num_patches", "batch_num_images", "rows", "cols")}
        out = made.generate(**known, max_new_tokens=8, do_sample=False)[0, batch["input_ids"].shape[1] :].tolist()
        assert branch.ids[0] == out


@every_family
def test_the_tower_freezes_and_adapters_go_into_the_language_model_alone(name: str) -> None:
    family, made = FAMILIES[name], families.model(name)
    freeze_vision_tower(made)
    frozen = {key for key, parameter in made.named_parameters() if not parameter.requires_grad}
    assert frozen and all(family.in_tower(key) for key in frozen)
    assert any(part in key for key, p in made.named_parameters() if p.requires_grad for part in family.projector)
    adapted = add_lora(families.model(name), r=2, alpha=4, dropout=0.0, target_modules=PeftConfig().target_modules)
    names = [key for key, _ in adapted.named_parameters() if "lora_" in key]
    layers = adapted.config.text_config.num_hidden_layers
    assert len(names) == layers * len(PeftConfig().target_modules) * 2
    assert not any(family.beside_language(key) for key in names)
    batch = TreeCollator(families.processor(name))(families.trees())
    torch.testing.assert_close(response_logps(adapted.eval(), batch)[0], response_logps(families.model(name), batch)[0])


def test_the_head_in_pieces_equals_the_head_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a piece: the backward pass makes each piece's logits again."""

    def run() -> tuple[torch.Tensor, dict[str, Any]]:
        made = families.model("qwen2_5_vl")
        logps = response_logps(made, TreeCollator(families.processor("qwen2_5_vl"))(families.trees()))[0]
        (logps * torch.arange(len(logps))).sum().backward()
        assert "forward" not in vars(made.get_output_embeddings())
        return logps.detach(), {key: parameter.grad for key, parameter in made.named_parameters()}

    whole, gradients = run()
    monkeypatch.setattr(head, "MAX_LOGITS", 3 * families.model("qwen2_5_vl").get_output_embeddings().out_features)
    pieces, again = run()
    torch.testing.assert_close(pieces, whole)
    for key, gradient in gradients.items():
        torch.testing.assert_close(again[key], gradient, atol=1e-5, rtol=1e-4)


def test_the_head_sees_the_rows_that_are_read_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy.model()
    seen: list[int] = []
    made.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(out.numel()))
    batch = TreeCollator(toy.processor())([Tree(toy.image("red"), (Branch(toy.WHAT, ("red", toy.REFUSALS[0])),))])
    response_logps(made, batch)
    assert seen == [len(batch.targets)]


def test_unknown_families_are_named() -> None:
    with pytest.raises(ValueError, match="processor object is not supported; supported are LlavaProcessor, "):
        family_of_processor(object())
    with pytest.raises(ValueError, match="model type 'llama' is not supported; supported are llava, "):
        family_of_model(toy.model().model.language_model)


def test_a_picture_of_another_size_has_a_prefix_of_its_own() -> None:
    collator = TreeCollator(families.processor("llava_onevision"))
    small, wide = (collator([Tree(Image.new("RGB", size), (Branch("?", ("a",)),))]).tokens for size in ((64, 64), (32, 32)))
    assert small != wide


@every_family
@pytest.mark.parametrize("chosen", [slice(0, 2), slice(0, 3), slice(1, 2)])
@pytest.mark.parametrize("row_tokens", [0, 10**6])
def test_a_mask_for_the_queries_after_the_first_sibling_is_enough(name: str, chosen: slice, row_tokens: int, tmp_path: Path) -> None:
    """Loaded models see what stands before siblings causally and a mask of the other rows; with PyTorch's own attention they get the whole
    mask, and compute every position. Values and gradients agree."""
    made = families.model(name)
    made.save_pretrained(tmp_path)
    loaded = load_model(tmp_path).eval()
    assert splits_masks(loaded) and splits_masks(made)
    made.set_attn_implementation("sdpa")
    assert not splits_masks(made)
    batch = TreeCollator(families.processor(name), row_tokens=row_tokens)(families.trees()[chosen])
    rows, length = batch.inputs["input_ids"].shape
    assert model_inputs(made, batch)["attention_mask"].shape == (rows, 1, length, length)
    assert model_inputs(loaded, batch)["attention_mask"].shape == (rows, 1, length - batch.causal, length)
    assert (batch.causal == length) == (chosen == slice(1, 2))
    for model in (made, loaded):
        (response_logps(model, batch)[0] * torch.linspace(-1, 2, batch.num_responses)).sum().backward()
    torch.testing.assert_close(response_logps(loaded, batch)[0], response_logps(made, batch)[0], atol=1e-4, rtol=1e-5)
    grads = {key: parameter.grad for key, parameter in made.named_parameters() if parameter.grad is not None}
    for key, parameter in loaded.named_parameters():
        if key in grads:
            assert float((parameter.grad - grads[key]).norm()) <= 1e-4 * float(grads[key].norm()) + 1e-6, key


@every_family
@pytest.mark.parametrize("answer", ["end", "m", "i", "|", "assistant", "user", "USER", "a"])
def test_an_answer_that_occurs_in_the_template_is_still_itself(name: str, answer: str) -> None:
    """Its tokens are the answer's and the end's, nothing of the template's; LLaVA-OneVision's ends in "<|im_end|>"."""
    encoder = TreeCollator(families.processor(name)).encoder
    *ids, end = encoder.response_ids(answer)
    assert encoder.decode(ids) == answer and end == encoder.eos_token_id


def test_the_configuration_names_every_family() -> None:
    """It must not import torch to know them."""
    assert set(TINY_FAMILIES) == set(FAMILIES) == {"llava", *BLUEPRINTS}
