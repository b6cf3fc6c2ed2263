"""Preference losses without a reference and with an altered image, below prefix trees: the numbers of plain padded conversations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import toy

from inbol.contracts import PreferencePair, ReferenceLogps
from inbol.losses.image_terms import image_loss
from inbol.losses.reference_free import reference_free_loss
from inbol.models.tree import TreeCollator
from inbol.sources.alter import alter
from inbol.training.objectives import DpoObjective, PairTrees
from inbol.training.stream import Visit

COMMON: dict[str, Any] = {"beta": 0.5, "anchor": 0.2, "anchor_normalise": "tokens"}


@pytest.fixture(scope="module")
def collator() -> TreeCollator:
    return TreeCollator(toy.processor())


def visits(*indices: int) -> list[Visit]:
    return [Visit(index, 0, True) for index in indices]


def in_order(records: list[PreferencePair]) -> list[PreferencePair]:
    """The pairs of the first two images, as their trees have them."""
    return [pair for color in ("red", "green") for pair in records if pair.image_key == color]


def padded(model: Any, records: list[PreferencePair], side: str, altered: str = "") -> torch.Tensor:
    """[P] log-probabilities of one side, one padded conversation each."""
    pictures = [alter(toy.image(p.image_key), altered, p.image_key) if altered else toy.image(p.image_key) for p in records]
    return toy.padded_logps(model, [(picture, p.prompt, getattr(p, side)) for picture, p in zip(pictures, records, strict=True)])


def tokens(collator: TreeCollator, records: list[PreferencePair], side: str) -> torch.Tensor:
    return torch.tensor([len(collator.encoder.response_ids(getattr(pair, side))) for pair in records])


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_without_a_reference(collator: TreeCollator, name: str) -> None:
    model, records = toy.model(), in_order(toy.pairs())
    objective = DpoObjective(PairTrees(toy.pairs(), toy.image, collator), None, name=name, simpo_gamma=0.5, **COMMON)
    assert "reference" not in objective.identity()
    with torch.no_grad():
        total, metrics = objective.terms(model, objective.collate(visits(0, 1)))
        expected, _ = reference_free_loss(
            name,
            padded(model, records, "chosen"),
            padded(model, records, "rejected"),
            num_tokens_chosen=tokens(collator, records, "chosen"),
            num_tokens_rejected=tokens(collator, records, "rejected"),
            simpo_gamma=0.5,
            **COMMON,
        )
    weights = torch.tensor([pair.weight for pair in records])
    assert float(total) == pytest.approx(float((weights * expected).sum()), rel=1e-5)
    assert metrics["rewards/accuracies"][1] == float(weights.sum())


@pytest.mark.parametrize("name", ["mdpo", "v-dpo"])
@pytest.mark.parametrize("group_by_image", [True, False])
def test_with_an_altered_image(collator: TreeCollator, name: str, group_by_image: bool) -> None:
    """The reference is another model's padded conversations, below both images; over one epoch, whatever the trees are."""
    model, frozen = toy.model(), toy.model(1)
    records = [replace(pair, altered="occluded") for pair in toy.pairs() if pair.image_key in ("red", "green")]
    with torch.no_grad():
        ref = {(side, kind): padded(frozen, records, side, kind) for side in ("chosen", "rejected") for kind in ("", "occluded")}
        policy = {place: padded(model, records, *place) for place in ref}
        expected, _ = image_loss(
            name,
            policy["chosen", ""], policy["rejected", ""], ref["chosen", ""], ref["rejected", ""],
            altered_chosen_logps=policy["chosen", "occluded"], altered_rejected_logps=policy["rejected", "occluded"],
            ref_altered_chosen_logps=ref["chosen", "occluded"], ref_altered_rejected_logps=ref["rejected", "occluded"],
            num_tokens_chosen=tokens(collator, records, "chosen"), num_tokens_rejected=tokens(collator, records, "rejected"),
            image_gamma=2.0, anchor_margin=0.5, **COMMON,
        )  # fmt: skip
    reference = {
        pair.key: ReferenceLogps(
            key=pair.key,
            chosen=float(ref["chosen", ""][n]),
            rejected=float(ref["rejected", ""][n]),
            altered_chosen=float(ref["chosen", "occluded"][n]),
            altered_rejected=float(ref["rejected", "occluded"][n]),
        )
        for n, pair in enumerate(records)
    }
    trees = PairTrees(records, toy.image, collator, group_by_image=group_by_image)
    objective = DpoObjective(trees, reference, name=name, image_gamma=2.0, anchor_margin=0.5, **COMMON)
    with torch.no_grad():
        batch = objective.collate(visits(*range(objective.size)))
        total, metrics = objective.terms(model, batch)
    weights = torch.tensor([pair.weight for pair in records])
    assert batch.trees.num_responses == 2 * batch.altered > 0
    assert float(total) == pytest.approx(float((weights * expected).sum()), rel=1e-4)
    assert abs(metrics["rewards/image_margins"][0]) > 0.1, "the altered image says something else"


def test_altered_pictures_lengthen_trees_and_leave_others_alone(collator: TreeCollator) -> None:
    plain = PairTrees(toy.pairs(), toy.image, collator)
    altered = PairTrees([replace(pair, altered="blank") for pair in toy.pairs()], toy.image, collator)
    assert altered.lengths == [2 * length for length in plain.lengths]
    first, second = plain.collate([0]), altered.collate([0])
    assert second[0].num_responses == 2 * first[0].num_responses
    assert torch.equal(first[2], second[2]) and torch.equal(first[3], second[3])


def test_what_does_not_go_together_is_refused(collator: TreeCollator) -> None:
    trees, reference = PairTrees(toy.pairs(), toy.image, collator), toy.reference(toy.pairs())
    with pytest.raises(ValueError, match=r"dpo\.loss: 'simpo' takes no reference"):
        DpoObjective(trees, reference, name="simpo")
    with pytest.raises(ValueError, match=r"dpo\.loss: 'soft' takes a reference"):
        DpoObjective(trees, None, name="soft")
    with pytest.raises(ValueError, match=r"dpo\.loss: 'mdpo' with pairs whose image alteration is ''"):
        DpoObjective(trees, reference, name="mdpo")
    first, *others = toy.pairs()
    with pytest.raises(ValueError, match="altered is '' and 'blank'; all pairs of a training need one alteration"):
        PairTrees([replace(first, altered="blank"), *others], toy.image, collator)
    with pytest.raises(ValueError, match="red: a pair about no image"):
        PairTrees([replace(first, altered="blank")], lambda key: None, collator).collate([0])
