"""The objective of a reward model: weighted losses on the scores of the pairs' sides, and the head that is taken off at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy
from safetensors.torch import load_file

from inbol.losses.reward_model import reward_loss
from inbol.models.reward import HEAD, RewardScorer, add_reward_head
from inbol.models.tree import TreeCollator
from inbol.training.objectives import PairTrees
from inbol.training.reward import RewardObjective, take_head
from inbol.training.stream import Visit

SINGLE = SimpleNamespace(is_world_process_zero=lambda: True, args=SimpleNamespace(world_size=1))


def objective(name: str = "bradley-terry") -> RewardObjective:
    return RewardObjective(PairTrees(toy.pairs(), toy.image, TreeCollator(toy.processor())), loss=name)


def scored_model() -> torch.nn.Module:
    model = toy.model()
    add_reward_head(model)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.reward_head.weight)
    return model


@pytest.mark.parametrize("name", ["bradley-terry", "binary"])
def test_the_loss_of_a_step_is_that_of_its_pairs_one_by_one(name: str, tmp_path: Path) -> None:
    """Numerator: sum of weight x loss; denominator: sum of weights; scores as `RewardScorer` gives them from the saved head."""
    made, model = objective(name), scored_model()
    visits = [Visit(index, 0, True) for index in range(made.size)]
    numerator, metrics = made.terms(model, made.collate(visits))
    take_head(SINGLE, model, tmp_path, zero_stage=2)
    assert not hasattr(model, "reward_head") and set(load_file(str(tmp_path / HEAD))) == {"weight", "bias"}
    model.save_pretrained(tmp_path / "checkpoint")
    toy.processor().save_pretrained(tmp_path / "checkpoint")
    score = RewardScorer(tmp_path, toy.image)
    expected, total = 0.0, 0.0
    for pair in toy.pairs():
        asked = SimpleNamespace(key=pair.key, image_key=pair.image_key, text=pair.prompt)
        won, lost = score([asked, asked], [pair.chosen, pair.rejected])  # type: ignore[list-item]
        expected += pair.weight * reward_loss(torch.tensor([won]), torch.tensor([lost]), name=name)[0].item()
        total += pair.weight
    assert numerator.item() == pytest.approx(expected, rel=1e-4)
    assert sum(made.denominator(visit) for visit in visits) == pytest.approx(total) == metrics["rewards/accuracies"][1]


def test_head_and_model_both_learn() -> None:
    made, model = objective(), scored_model()
    made.terms(model, made.collate([Visit(0, 0, True), Visit(1, 0, True)]))[0].backward()
    assert model.reward_head.weight.grad.abs().sum() > 0
    assert model.model.language_model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_it_is_bound_to_its_pairs_and_loss() -> None:
    one, other = objective().identity(), objective("binary").identity()
    assert one["objective"] == "reward" and one["records"] == other["records"] and one["loss"] != other["loss"]
