"""What nothing reads is not computed, and nothing that is read changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import families
import pytest
import torch
import toy
from deepspeed import DeepSpeedEngine
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from inbol.models import tree
from inbol.models.attention import splits_masks
from inbol.models.families import family_of_model
from inbol.models.generate import decode_trees
from inbol.models.load import add_lora
from inbol.models.tiny import build_model
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator, prompt_states, response_logps

every_family = pytest.mark.parametrize("name", families.NAMES)
WEIGHTS = torch.linspace(-1, 2, 7)


@contextmanager
def whole() -> Iterator[None]:
    """Within, the last layer is computed everywhere: nothing makes it heed `read`, which the other layers pass by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "skip_unread", lambda model: None)
        yield


def learn(made: Any, batch: TreeBatch) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities and every gradient of their weighted sum."""
    made.zero_grad()
    logps = response_logps(made, batch)[0]
    (logps * WEIGHTS[: len(logps)]).sum().backward()
    return logps.detach(), {key: parameter.grad.clone() for key, parameter in made.named_parameters() if parameter.grad is not None}


def assert_equal(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-6)
    assert set(found[1]) == set(expected[1])
    for key, gradient in expected[1].items():
        assert float((found[1][key] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-6, key


@every_family
@pytest.mark.parametrize("row_tokens", [0, 10**6])
@pytest.mark.parametrize("chosen", [slice(0, 1), slice(0, 3), slice(1, 2)])
def test_log_probabilities_and_gradients_stay(name: str, chosen: slice, row_tokens: int) -> None:
    batch = TreeCollator(families.processor(name), row_tokens=row_tokens)(families.trees()[chosen])
    with whole():
        expected = learn(families.model(name), batch)
    assert_equal(learn(families.model(name), batch), expected)


@every_family
def test_states_and_decoded_responses_stay(name: str) -> None:
    collator = TreeCollator(families.processor(name))
    batch = collator([Tree(t.image, tuple(Branch(b.prompt) for b in t.branches)) for t in families.trees()])
    made = families.model(name)
    with whole(), torch.no_grad():
        states = prompt_states(made, batch)
        responses = decode_trees(made, batch, eos_token_id=-1, max_new_tokens=5)
    with torch.no_grad():
        torch.testing.assert_close(prompt_states(made, batch), states, atol=1e-5, rtol=1e-5)
        again = decode_trees(made, batch, eos_token_id=-1, max_new_tokens=5)
    assert [branch.ids for t in again for branch in t] == [branch.ids for t in responses for branch in t]


@every_family
def test_the_last_layer_is_computed_where_it_is_read(name: str) -> None:
    """Multiplications saved: at B T - M of B T positions, two a weight of q, o and the three matrices of the MLP."""
    batch = TreeCollator(families.processor(name))(families.trees())
    made = families.model(name)
    layer = made.get_decoder().layers[-1]
    matrices = [*layer.mlp.parameters(), *layer.self_attn.q_proj.parameters(), *layer.self_attn.o_proj.parameters()]
    weights = sum(matrix.numel() for matrix in matrices if matrix.ndim == 2)
    with whole():
        expected = matrix_flops(made, batch)
    unread = batch.inputs["input_ids"].numel() - len(batch.read)
    assert unread > 0 and len(set(batch.read.tolist())) == len(batch.read)
    assert expected - matrix_flops(made, batch) == 2 * unread * weights


def matrix_flops(made: Any, batch: TreeBatch) -> int:
    """Of a forward pass, attention's own products left out."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        response_logps(made, batch)
    return sum(flops for op, flops in counter.get_flop_counts()["Global"].items() if op in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_with_gradient_checkpointing_the_layer_run_again_leaves_out_the_same() -> None:
    batch = TreeCollator(toy.processor())(families.trees()[:1])
    expected = learn(families.model("llava").train(), batch)
    made = families.model("llava").train()
    made.gradient_checkpointing_enable({"use_reentrant": False})
    rows: list[int] = []
    made.get_decoder().layers[-1].mlp.up_proj.register_forward_hook(lambda module, args, output: rows.append(output.shape[0]))
    assert_equal(learn(made, batch), expected)
    assert rows == [len(batch.read)] * 2


def test_adapters_learn_the_same() -> None:
    batch = TreeCollator(toy.processor())(families.trees()[:1])
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    adapted = add_lora(families.model("llava"), r=4, alpha=8, dropout=0.0, target_modules=modules)
    torch.manual_seed(0)
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.1)
    with whole():
        expected = learn(adapted, batch)
    assert len(expected[1]) == 2 * 2 * len(modules)
    assert_equal(learn(adapted, batch), expected)


class Engine(DeepSpeedEngine):
    """DeepSpeed's engine around a model as far as its attributes go: what it lacks is the model's, `config` is its own."""

    def __init__(self, model: Any) -> None:
        torch.nn.Module.__init__(self)
        self.module, self.config = model, {"train_batch_size": 1}

    def forward(self, **inputs: Any) -> Any:
        return self.module(**inputs)


def test_inside_an_engine_as_outside_of_it() -> None:
    """Once neither the split mask nor this reached a model in training: the engine's config says nothing of attention."""
    batch = TreeCollator(toy.processor())(families.trees()[:1])
    made = families.model("llava")
    expected = learn(made, batch)
    flops = matrix_flops(made, batch)
    engine = Engine(families.model("llava"))
    assert splits_masks(engine) and family_of_model(engine) is families.FAMILIES["llava"]
    assert matrix_flops(engine, batch) == flops
    assert torch.equal(learn(engine, batch)[0], expected[0])


def test_a_copy_calls_its_own_layers_and_ordinary_calls_get_the_whole_layer() -> None:
    batch = TreeCollator(toy.processor())(families.trees()[:1])
    made = families.model("llava")
    ids = {"input_ids": batch.inputs["input_ids"], "pixel_values": batch.inputs["pixel_values"]}
    ordinary = made(**ids).logits
    before = response_logps(made, batch)[0]
    twin = copy.deepcopy(made)
    with torch.no_grad():
        for parameter in made.get_decoder().layers[-1].parameters():
            parameter.zero_()
    assert torch.equal(response_logps(twin, batch)[0], before)
    assert not torch.equal(response_logps(made, batch)[0], before)
    assert torch.equal(twin(**ids).logits, ordinary)


@pytest.mark.parametrize(("features", "run"), [(-1, 3), (-2, 2), (2, 2), ([-3, -2], 2), ([0, -1], 3)])
def test_tower_layers_behind_the_features_are_left_out(features: int | list[int], run: int) -> None:
    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 32, "vision_layers": 3, "text_layers": 2, "heads": 2}
    made = build_model(toy.processor().tokenizer, seed=0, **sizes)
    made.eval()
    made.config.vision_feature_layer = features
    if isinstance(features, list):
        width = made.config.vision_config.hidden_size
        made.model.multi_modal_projector.linear_1 = torch.nn.Linear(width * len(features), made.config.text_config.hidden_size)
    batch = TreeCollator(toy.processor())(families.trees()[:1])
    with whole():
        expected = learn(made, batch)
    ran: list[int] = []
    for number, layer in enumerate(made.model.vision_tower.encoder.layers):
        layer.mlp.register_forward_hook(lambda module, args, output, number=number: ran.append(number))
    assert_equal(learn(made, batch), expected)
    assert ran == list(range(run))
