"""Loading: incomplete folders are refused with the way out; freezing and adapters touch what they should."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

from inbol.models.load import add_lora, freeze_vision_tower, load_model, load_processor, pick_device
from inbol.models.tree import Branch, Tree, TreeCollator, response_logps

LORA: dict[str, Any] = {"r": 4, "alpha": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    toy.model().save_pretrained(path)
    toy.processor().save_pretrained(path)
    return path


def logps(model: Any) -> torch.Tensor:
    batch = TreeCollator(toy.processor())([Tree(toy.image("red"), (Branch(toy.WHAT, ("red", toy.REFUSALS[0])),))])
    return response_logps(model, batch)[0]


def test_dtype_and_device(folder: Path) -> None:
    assert load_model(folder).dtype == torch.float32
    assert load_model(folder, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    toy.processor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no model checkpoint \(config\.json") as error:
        load_model(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_folder_without_processor_is_refused(tmp_path: Path) -> None:
    toy.model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no processor .* processor\.save_pretrained") as error:
        load_processor(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_processor_without_chat_template_is_refused(tmp_path: Path) -> None:
    toy.model().config.save_pretrained(tmp_path)
    processor = copy.copy(toy.processor())
    processor.chat_template = None
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no chat template; set processor\.chat_template"):
        load_processor(tmp_path)


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    config = toy.model().config
    LlavaNextForConditionalGeneration(
        LlavaNextConfig(vision_config=config.vision_config, text_config=config.text_config, image_token_index=config.image_token_id)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model type 'llava_next' is not supported; supported are llava"):
        load_model(tmp_path)


def test_freezing_the_tower_freezes_it_alone() -> None:
    model = toy.model()
    tower = {name for name, _ in model.named_parameters() if name.startswith("model.vision_tower.")}
    assert freeze_vision_tower(model) == sum(p.numel() for name, p in model.named_parameters() if name in tower) > 1000
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == tower
    logps(model).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == tower


def test_freezing_a_model_without_tower_is_refused() -> None:
    with pytest.raises(ValueError, match="model type 'llama' is not supported; supported are llava, "):
        freeze_vision_tower(toy.model().model.language_model)
    made = toy.model()
    made.model.vision_tower = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"has no parameter under vision_tower\. to freeze; set peft\.freeze_vision_tower=false"):
        freeze_vision_tower(made)


def test_lora_starts_as_the_model_and_trains_the_language_model_alone() -> None:
    """r = 4 on two 32x32 projections in each of two layers: 2 * 2 * (4*32 + 32*4) = 1024 parameters; the tower has a q_proj too."""
    model = toy.model()
    before = logps(model).detach()
    adapted = add_lora(model, target_modules=("q_proj", "v_proj"), **LORA)
    torch.testing.assert_close(logps(adapted).detach(), before, atol=1e-6, rtol=0)
    trained = {name: p.numel() for name, p in adapted.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == 1024
    assert all("lora_" in name and "language_model" in name and "vision" not in name for name in trained)
    logps(adapted).sum().backward()
    assert {name for name, p in adapted.named_parameters() if p.grad is not None} == set(trained)


def test_lora_on_unknown_modules_is_refused() -> None:
    with pytest.raises(ValueError, match=r"peft\.target_modules: none of query, w2 is a module of LlavaForConditionalGeneration"):
        add_lora(toy.model(), target_modules=("query", "w2"), **LORA)


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_with_code_or_a_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    """Weights as a pickle that would create a file, and a configuration that names a module of the folder to import."""
    victim, checkpoint = tmp_path / "executed", tmp_path / "checkpoint"
    toy.model().config.save_pretrained(checkpoint)
    toy.processor().save_pretrained(checkpoint)
    with (checkpoint / "pytorch_model.bin").open("wb") as file:
        pickle.dump(_Touch(victim), file)
    with pytest.raises((OSError, ValueError)):
        load_model(checkpoint)
    toy.model().save_pretrained(checkpoint)  # right weights, but code beside them
    (checkpoint / "evil.py").write_text(f"import pathlib\npathlib.Path({str(victim)!r}).touch()\n")
    for name in ("config.json", "processor_config.json"):
        path = checkpoint / name
        raw = json.loads(path.read_text())
        raw["auto_map"] = {"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil", "AutoProcessor": "evil.Evil"}
        path.write_text(json.dumps(raw))
    load_model(checkpoint)
    load_processor(checkpoint)
    assert not victim.exists()
