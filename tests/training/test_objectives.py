"""Records to trees: one tree per image, every distinct response once, weights and pairs in the order of the responses."""

from __future__ import annotations

import pytest
import torch
import toy

from inbol.contracts import ReferenceLogps
from inbol.models.tree import TreeBatch, TreeCollator
from inbol.training.objectives import DpoObjective, PairTrees, SftObjective
from inbol.training.stream import Visit


@pytest.fixture(scope="module")
def collator() -> TreeCollator:
    return TreeCollator(toy.processor())


def visits(*indices: int, real: bool = True) -> list[Visit]:
    return [Visit(index, 0, real) for index in indices]


def texts(trees: TreeBatch) -> list[str]:
    decode = toy.processor().tokenizer.decode
    return [decode(trees.targets[trees.response_index == r]).removesuffix("</s>").strip() for r in range(trees.num_responses)]


def test_sft_has_one_tree_per_image(collator: TreeCollator) -> None:
    """Image 1 (green) has two targets under the first question and one under the second; image 0 (red) has two in all."""
    objective = SftObjective(toy.sft_examples(), toy.image, collator)
    assert objective.size == 6
    batch = objective.collate(visits(1, 0))
    assert batch.trees.inputs["input_ids"].shape[0] == batch.trees.inputs["pixel_values"].shape[0] == 2
    assert texts(batch.trees) == ["green", toy.REFUSALS[0], toy.REFUSALS[1], "red", toy.REFUSALS[0]]
    assert batch.weights.tolist() == pytest.approx([0.375, 0.6, 0.0, 0.25, 0.75])


def test_sft_weights_follow_their_responses_when_questions_are_interleaved(collator: TreeCollator) -> None:
    """Records of one image in the order q0, q1, q0: the tree stands as q0, q0, q1."""
    green = [example for example in toy.sft_examples() if example.image_key == "green"]
    batch = SftObjective([green[0], green[2], green[1]], toy.image, collator).collate(visits(0))
    assert texts(batch.trees) == ["green", toy.REFUSALS[0], toy.REFUSALS[1]]
    assert batch.weights.tolist() == pytest.approx([0.375, 0.6, 0.0])


def test_repeats_weigh_nothing(collator: TreeCollator) -> None:
    sft = SftObjective(toy.sft_examples(), toy.image, collator).collate(visits(0, real=False) + visits(1))
    assert sft.weights.tolist() == pytest.approx([0.0, 0.0, 0.375, 0.6, 0.0])
    dpo = DpoObjective(PairTrees(toy.pairs(), toy.image, collator), toy.reference(toy.pairs()), **toy.LOSS)
    assert dpo.collate(visits(1) + visits(0, real=False)).values["weight"].tolist() == [0.75, 1.0, 0.0, 0.0, 0.0]


def test_sft_denominators(collator: TreeCollator) -> None:
    """Image 0: weights .25 on "red" (2 tokens with end-of-sequence) and .75 on the refusal."""
    refusal = len(collator.encoder.response_ids(toy.REFUSALS[0]))
    assert refusal > 2
    by_example = SftObjective(toy.sft_examples(), toy.image, collator)
    assert by_example.denominator(Visit(0, 0, True)) == 1.0
    by_token = SftObjective(toy.sft_examples(), toy.image, collator, normalise="tokens")
    assert by_token.denominator(Visit(0, 0, True)) == 0.25 * 2 + 0.75 * refusal
    batch = by_token.collate(visits(0))
    counted = torch.bincount(batch.trees.response_index).double() @ batch.weights.double()
    assert float(counted) == by_token.denominator(Visit(0, 0, True)), "the denominator counts the tokens that the numerator sums"


def test_dpo_lays_out_every_distinct_response_once(collator: TreeCollator) -> None:
    """Image 0 (red): red > refusal 0 and refusal 0 > gray share a response; the question who has refusal 1 > red. Then image 1 (green).

    Responses: 0 red, 1 refusal 0, 2 gray, 3 refusal 1, 4 red | 5 green, 6 refusal 0, 7 red.
    """
    objective = DpoObjective(PairTrees(toy.pairs(), toy.image, collator), toy.reference(toy.pairs()), **toy.LOSS)
    assert objective.size == 6
    batch = objective.collate(visits(0, 1))
    assert texts(batch.trees) == ["red", toy.REFUSALS[0], "gray", toy.REFUSALS[1], "red", "green", toy.REFUSALS[0], "red"]
    assert batch.chosen.tolist() == [0, 1, 3, 5, 6]
    assert batch.rejected.tolist() == [1, 2, 4, 6, 7]
    values = {name: value.tolist() for name, value in batch.values.items()}
    assert values["weight"] == [0.5, 1.0, 2.0, 0.75, 1.0]
    assert values["confidence"] == pytest.approx([0.9, 0.0, 0.0, 0.85, 0.1])
    assert values["answer_is_chosen"] == [True, False, False, True, False]
    assert values["ref_chosen"] == [-8.0, -8.5, -9.0, -9.5, -10.0]
    assert values["ref_rejected"] == [-9.0, -8.75, -8.5, -8.25, -8.0]
    assert [objective.denominator(visit) for visit in visits(0, 1)] == [3.5, 1.75]


def test_pairs_without_reference_are_refused(collator: TreeCollator) -> None:
    reference: dict[str, ReferenceLogps] = toy.reference(toy.pairs())
    del reference["green-q0-p1"], reference["blue-q1-p0"]
    with pytest.raises(ValueError, match="2 pairs have no reference log-probabilities, the first is green-q0-p1; rerun"):
        DpoObjective(PairTrees(toy.pairs(), toy.image, collator), reference, **toy.LOSS)


def test_grouping_by_image_changes_trees_and_nothing_else() -> None:
    """Over an epoch the sums of losses and of weights are those of one tree a question, packed into rows or not."""
    model = toy.model()

    def sums(group_by_image: bool, row_tokens: int) -> list[float]:
        collator = TreeCollator(toy.processor(), row_tokens=row_tokens)
        trees = PairTrees(toy.pairs(), toy.image, collator, group_by_image=group_by_image)
        dpo = DpoObjective(trees, toy.reference(toy.pairs()), **toy.LOSS)
        sft = SftObjective(toy.sft_examples(), toy.image, collator, group_by_image=group_by_image)
        assert (sft.size == dpo.size == len(toy.COLORS)) == group_by_image
        found = []
        for objective in (sft, dpo):
            visits = [Visit(index, 0, True) for index in range(objective.size)]
            batch = objective.collate(visits)  # type: ignore[attr-defined]
            found += [float(objective.terms(model, batch)[0]), sum(objective.denominator(visit) for visit in visits)]  # type: ignore[attr-defined]
        return found

    expected = sums(True, 0)
    for group_by_image, row_tokens in ((False, 0), (True, 100), (False, 100)):
        assert sums(group_by_image, row_tokens) == pytest.approx(expected, rel=1e-5)
