"""Our SFT and DPO, from records through prefix trees to the trainer's loss, against TRL's own trainers on the same pairs; and against plain
torch over several steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import PAIRS, Oracle, World, tiny_world, trl_dpo, trl_sft
from PIL import Image
from streams import stream_of
from torch import Tensor
from toy_runs import GLOBAL_BATCH, OBJECTIVES, STEPS, UNSHARDED, budget, distance, objective, start_model, torch_run, trainer_run, weights
from transformers import LlavaForConditionalGeneration
from trl import SFTConfig

from inbol.contracts import PreferencePair, ReferenceLogps, SftExample
from inbol.losses.dpo import preference_loss
from inbol.models.tree import TreeCollator, response_logps
from inbol.shards.order import Layout
from inbol.training.objectives import DpoObjective, PairTrees, SftObjective
from inbol.training.stream import MicroBatch, Objective
from inbol.training.trainer import StreamTrainer, trainer_arguments

HARD: dict[str, Any] = {
    "name": "hard", "beta": 0.5, "soft_eps": 0.05, "weight_gamma": 1.0, "margin_alpha": 1.0, "regression_kappa": 2.0,
    "anchor": 0.0, "anchor_normalise": "tokens",
}  # fmt: skip
IMAGES = {pair.image.tobytes().hex()[:16]: pair.image for pair in PAIRS}
"""Three: two of the four pairs share one, and so share a tree."""


def image_key(picture: Image.Image) -> str:
    return picture.tobytes().hex()[:16]


def examples(weight: float = 1.0) -> list[SftExample]:
    return [
        SftExample(key=f"q{n}-a", image_key=image_key(pair.image), prompt=pair.prompt, target=pair.chosen, weight=weight, role="answer")
        for n, pair in enumerate(PAIRS)
    ]


def pairs() -> list[PreferencePair]:
    return [
        PreferencePair(key=f"q{n}-p0", image_key=image_key(pair.image), prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected,
                       confidence=1.0, answer_is_chosen=n % 2 == 0)
        for n, pair in enumerate(PAIRS)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return tiny_world()


@pytest.fixture(scope="module")
def collator(world: World) -> TreeCollator:
    return TreeCollator(world.processor)


@pytest.fixture(scope="module")
def dpo(world: World) -> Oracle:
    return trl_dpo(world, PAIRS, policy=world.model(0), reference=world.model(1), beta=HARD["beta"])


@pytest.fixture(scope="module")
def sft(world: World) -> Oracle:
    return trl_sft(world, PAIRS, policy=world.model(0))


def reference_logps(trees: PairTrees, model: LlavaForConditionalGeneration) -> dict[str, ReferenceLogps]:
    """As the stage `reference` has it: the trees of the pairs under the frozen model."""
    batch, ordered, chosen, rejected = trees.collate(range(len(trees.groups)))
    with torch.no_grad():
        logps, _ = response_logps(model, batch)
    return {
        pair.key: ReferenceLogps(key=pair.key, chosen=float(logps[w]), rejected=float(logps[r]))
        for pair, w, r in zip(ordered, chosen.tolist(), rejected.tolist(), strict=True)
    }


def dpo_objective(records: list[PreferencePair], world: World, collator: TreeCollator) -> DpoObjective:
    trees = PairTrees(records, IMAGES.__getitem__, collator)
    return DpoObjective(trees, reference_logps(trees, world.model(1)), **HARD)


def trainer_loss(trained: Objective, model: LlavaForConditionalGeneration, folder: Path) -> tuple[Tensor, dict[str, float]]:
    """What `StreamTrainer.compute_loss` hands to the backward pass for a batch of everything, and its metrics."""
    layout = Layout(trained.size, 1, trained.size)
    arguments = trainer_arguments(
        SFTConfig, folder=folder, budget=budget(save_steps=10), layout=layout, sharding=UNSHARDED, max_steps=1, seed=0, deepspeed=None,
    )  # fmt: skip
    trainer = StreamTrainer(stream=stream_of(trained, layout, rank=0, seed=0), model=model, args=arguments)
    batch: MicroBatch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(model, batch)
    return loss, {name: total / count for name, (total, count) in trainer.sums.items()}


def assert_gradients_equal(model: LlavaForConditionalGeneration, expected: dict[str, Tensor]) -> None:
    actual = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert actual.keys() == expected.keys()
    assert len(actual) > 20
    assert sum(float(gradient.abs().sum()) for gradient in expected.values()) > 1
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_the_ids_and_pixels_are_those_of_trl(dpo: Oracle, sft: Oracle, collator: TreeCollator) -> None:
    """Prompt (image expanded), chosen and rejected of every pair, as TRL tokenised them."""
    encoder = collator.encoder
    assert len(dpo.examples) == len(sft.examples) == len(PAIRS)
    batch = PairTrees(pairs(), IMAGES.__getitem__, collator)
    for number, (pair, ids, example) in enumerate(zip(PAIRS, dpo.examples, sft.examples, strict=True)):
        assert encoder.response_ids(pair.chosen) == ids.chosen_ids == example.target_ids
        assert encoder.response_ids(pair.rejected) == ids.rejected_ids
        suffix = encoder.suffix_ids(pair.prompt)
        trees = batch.collate([list(IMAGES).index(image_key(pair.image))])[0]
        row = trees.inputs["input_ids"][0].tolist()
        image_end = len(row) - row[::-1].index(encoder.image_token_id)
        assert row[:image_end] + suffix == ids.prompt_ids == example.prompt_ids, number
        assert torch.equal(trees.inputs["pixel_values"][0], ids.pixel_values)


def test_our_dpo_is_trls(dpo: Oracle, world: World, collator: TreeCollator, tmp_path: Path) -> None:
    """Loss to 1e-5, gradients, and the metrics under TRL's names."""
    model = world.model(0)
    loss, metrics = trainer_loss(dpo_objective(pairs(), world, collator), model, tmp_path)
    assert loss.item() == pytest.approx(dpo.loss, abs=1e-5)
    loss.backward()
    assert_gradients_equal(model, dpo.gradients)
    assert len(metrics) == 6
    for name, value in metrics.items():
        assert value == pytest.approx(dpo.metrics[name], abs=1e-4), name


def test_our_dpo_is_trls_pair_by_pair(dpo: Oracle, world: World, collator: TreeCollator, tmp_path: Path) -> None:
    losses = [trainer_loss(dpo_objective([pair], world, collator), world.model(0), tmp_path)[0].item() for pair in pairs()]
    assert losses == pytest.approx(dpo.losses, abs=1e-5)


def test_our_sft_over_tokens_is_trls(sft: Oracle, world: World, collator: TreeCollator, tmp_path: Path) -> None:
    """Loss to 1e-5 and gradients."""
    model = world.model(0)
    trained = SftObjective(examples(), IMAGES.__getitem__, collator, normalise="tokens")
    loss, metrics = trainer_loss(trained, model, tmp_path)
    assert loss.item() == pytest.approx(sft.loss, abs=1e-5)
    assert metrics["nll_per_token"] == pytest.approx(sft.loss, abs=1e-5)
    loss.backward()
    assert_gradients_equal(model, sft.gradients)


def test_our_sft_over_examples_is_the_mean_of_trls_sums(sft: Oracle, world: World, collator: TreeCollator, tmp_path: Path) -> None:
    """TRL's loss of one example is a mean over its tokens; ours sums them: mean over i of (TRL's loss_i x tokens_i)."""
    expected = sum(loss * len(example.target_ids) for loss, example in zip(sft.losses, sft.examples, strict=True)) / len(PAIRS)
    loss, metrics = trainer_loss(SftObjective(examples(), IMAGES.__getitem__, collator), world.model(0), tmp_path)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert metrics["nll_per_example"] == pytest.approx(expected, rel=1e-6)


def gradients(model: LlavaForConditionalGeneration, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_weight_1_is_no_weight_bit_for_bit(world: World, collator: TreeCollator, tmp_path: Path) -> None:
    """The weighted path against the plain mean over examples and over pairs, which knows of no weights: loss and every gradient."""
    model = world.model(0)
    sft_1 = SftObjective(examples(1.0), IMAGES.__getitem__, collator)
    dpo_1 = dpo_objective(pairs(), world, collator)
    for trained in (sft_1, dpo_1):
        weighted = trainer_loss(trained, model, tmp_path)[0]
        batch = stream_of(trained, Layout(trained.size, 1, trained.size), rank=0, seed=0)[0].batch
        logps, tokens = response_logps(model, batch.trees)
        if trained is sft_1:
            plain = (-logps).mean()
        else:
            plain = preference_loss(
                policy_chosen_logps=logps[batch.chosen], policy_rejected_logps=logps[batch.rejected],
                ref_chosen_logps=batch.values["ref_chosen"], ref_rejected_logps=batch.values["ref_rejected"],
                num_tokens_chosen=tokens[batch.chosen], num_tokens_rejected=tokens[batch.rejected],
                confidence=batch.values["confidence"], answer_is_chosen=batch.values["answer_is_chosen"], **HARD,
            )[0].mean()  # fmt: skip
        assert weighted.item() == plain.item()
        ours, expected = gradients(model, weighted), gradients(model, plain)
        assert len(expected) > 20
        assert all(torch.equal(ours[name], gradient) for name, gradient in expected.items())


def test_a_common_factor_of_the_weights_changes_nothing(world: World, collator: TreeCollator, tmp_path: Path) -> None:
    """2 and 1/4 are powers of two, so the quotient is the same to the last bit."""
    losses = {
        trainer_loss(SftObjective(examples(weight), IMAGES.__getitem__, collator), world.model(0), tmp_path)[0].item()
        for weight in (1.0, 2.0, 0.25)
    }
    assert len(losses) == 1


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_several_steps_equal_plain_torch_however_the_batch_is_split(kind: str, tmp_path: Path) -> None:
    """Unequal weights, repeats at the end of an epoch: 4 accumulation steps of 1 tree, 2 of 2, 1 of 4, and the padded loop.

    In float64, but for the norms and the records' numbers, which stay in float32.
    """
    expected, expected_log = torch_run(kind, torch.float64)
    assert distance(weights(expected), weights(start_model())) > 3e-3, "the steps move the weights"
    assert min(line["grad_norm"] for line in expected_log) > 1.1, "clipping is at work"
    for micro in (1, 2, GLOBAL_BATCH):
        model, log = trainer_run(kind, tmp_path / str(micro), micro, torch.float64)
        assert distance(weights(model), weights(expected)) < 1e-7
        assert len(log) == len(expected_log) == STEPS
        for line, wanted in zip(log, expected_log, strict=True):
            assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-6)
            assert line["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-6)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_accumulation_in_float32(kind: str, tmp_path: Path) -> None:
    """4 accumulation steps of 1 tree = 1 of 4, to 1e-6 of the weights' norm."""
    one, four = (trainer_run(kind, tmp_path / str(micro), micro, torch.float32)[0] for micro in (1, GLOBAL_BATCH))
    assert 0 < distance(weights(one), weights(four)) < 1e-6


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    """The error names the step and the trees."""
    trained = objective("dpo")
    trained.reference = {key: ReferenceLogps(key=key, chosen=float("nan"), rejected=0.0) for key in trained.reference}
    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 1, trees \[white, blue, gray, black, red, green\]; no step was taken"
    ):
        trainer_loss(trained, start_model(), tmp_path)
