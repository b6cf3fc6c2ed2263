"""Prefix trees: the numbers of the padded conversation, at the cost of every token once."""

from __future__ import annotations

import copy

import pytest
import torch
import toy
from transformers import LlavaForConditionalGeneration

from inbol.models.tree import LENGTH_STEP, Branch, ConversationEncoder, Tree, TreeBatch, TreeCollator, ancestor_mask, response_logps

RED = Tree(
    toy.image("red"),
    (
        Branch(toy.WHAT, ("red", "blue", toy.REFUSALS[2])),
        Branch(toy.WHO, (toy.REFUSALS[1],)),
        Branch("is the image red?", ("yes", "no")),
    ),
)
BLUE = Tree(toy.image("blue"), (Branch(toy.WHO, (toy.REFUSALS[0], "")),))
ALONE = Tree(toy.image("blue"), (Branch(toy.WHO, (toy.REFUSALS[0],)),))
WHITE = Tree(toy.image("white"), (Branch("is the image gray?", ("no",)), Branch(toy.WHAT, ())))


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return toy.model()


@pytest.fixture(scope="module")
def collate() -> TreeCollator:
    return TreeCollator(toy.processor())


def conversations(*trees: Tree) -> list[tuple[object, str, str]]:
    """What a tree stands for, in the order of its responses."""
    return [(tree.image, branch.prompt, response) for tree in trees for branch in tree.branches for response in branch.responses]


@pytest.mark.parametrize("trees", [(RED,), (BLUE,), (RED, BLUE, WHITE), (WHITE, RED)])
def test_log_probs_equal_the_padded_conversation(
    trees: tuple[Tree, ...], model: LlavaForConditionalGeneration, collate: TreeCollator
) -> None:
    batch = collate(trees)
    logps, tokens = response_logps(model, batch)
    expected = toy.padded_logps(model, conversations(*trees))
    assert len(logps) == batch.num_responses == len(conversations(*trees))
    assert expected.max() - expected.min() > 1
    torch.testing.assert_close(logps, expected, atol=1e-5, rtol=1e-6)
    assert tokens.tolist() == [len(collate.encoder.response_ids(response)) for _, _, response in conversations(*trees)]


def test_gradients_equal_those_of_the_padded_conversation(collate: TreeCollator) -> None:
    """Of a weighted sum with unequal weights, parameter by parameter."""
    weights = torch.tensor([0.5, 1.0, -0.25, 2.0, 0.1, 0.7, 1.5, 0.3, 1.0])
    grown, plain = toy.model(), toy.model()
    (response_logps(grown, collate([RED, BLUE, WHITE]))[0] * weights).sum().backward()
    (toy.padded_logps(plain, conversations(RED, BLUE, WHITE)) * weights).sum().backward()
    ours = {name: p.grad for name, p in grown.named_parameters() if p.grad is not None}
    theirs = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-6 * largest, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_siblings_do_not_influence_each_other(model: LlavaForConditionalGeneration, collate: TreeCollator) -> None:
    """Another question in the middle, another second response: only the log-probabilities below them change."""
    before = response_logps(model, collate([RED]))[0]
    other_branch = Tree(RED.image, (RED.branches[0], Branch("is the image black?", (toy.REFUSALS[1],)), RED.branches[2]))
    after = response_logps(model, collate([other_branch]))[0]
    torch.testing.assert_close(after[[0, 1, 2, 4, 5]], before[[0, 1, 2, 4, 5]], atol=1e-5, rtol=0)
    assert abs(after[3] - before[3]) > 0.1
    other_response = Tree(RED.image, (Branch(toy.WHAT, ("red", toy.REFUSALS[1], toy.REFUSALS[2])), *RED.branches[1:]))
    after = response_logps(model, collate([other_response]))[0]
    torch.testing.assert_close(after[[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]], atol=1e-5, rtol=0)
    assert abs(after[1] - before[1]) > 0.1


def test_the_image_does_influence_its_branches(model: LlavaForConditionalGeneration, collate: TreeCollator) -> None:
    before = response_logps(model, collate([RED]))[0]
    after = response_logps(model, collate([Tree(toy.image("green"), RED.branches)]))[0]
    assert (before - after).abs().min() > 1e-3


def test_mask_worked_by_hand() -> None:
    """Image P; question q with responses a and b; question s with response c. The second row is P, q, a and three of padding.

    P sees P; q sees P q; a sees P q a; b sees P q b, not a; s sees P s, not the other branch; c sees P s c. Padding sees itself alone.
    """
    branch = torch.tensor([[-1, 0, 0, 0, 1, 1], [-1, 0, 0, -1, -1, -1]])
    response = torch.tensor([[-1, -1, 0, 1, -1, 2], [-1, -1, 0, -1, -1, -1]])
    real = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    mask = ancestor_mask(branch, response, real)
    assert mask.shape == (2, 1, 6, 6)
    assert mask.dtype == torch.bool
    assert mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 1, 1],
    ]
    assert mask[1, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("row_tokens", [0, 60, 10**6])
@pytest.mark.parametrize("trees", [(RED, BLUE, WHITE), (WHITE,), (ALONE,), (ALONE, BLUE), (ALONE, Tree(None, ALONE.branches))])
def test_causal_positions_are_all_before_the_first_sibling(trees: tuple[Tree, ...], row_tokens: int) -> None:
    """Of a lower triangle, what is missing in the mask is missing from row `causal` on: there it begins, or nothing is missing."""
    batch = TreeCollator(toy.processor(), row_tokens=row_tokens)(trees)
    mask = batch.inputs["attention_mask"][:, 0]
    length = mask.shape[1]
    others = mask & ~torch.eye(length, dtype=torch.bool)
    real = torch.arange(length) <= torch.tensor([[int(row.any(1).nonzero().max())] for row in others])  # padding sees itself alone
    missing = real[:, :, None] & real[:, None, :] & torch.ones(length, length, dtype=torch.bool).tril() & ~mask
    first = missing.any(2).any(0).nonzero()
    assert batch.causal == (int(first[0]) if len(first) else length)


def test_masks_are_the_same_without_looking_for_siblings_where_there_are_none() -> None:
    branch = torch.tensor([[-1, 0, 0, 0, 1, 1], [-1, 0, 0, 0, 0, -1]])
    response = torch.tensor([[-1, -1, 0, 1, -1, 2], [-1, -1, 0, 0, 1, -1]])
    real = torch.tensor([[True] * 6, [True] * 5 + [False]])
    whole = ancestor_mask(branch, response, real)
    assert all(torch.equal(ancestor_mask(branch, response, real, causal=positions), whole) for positions in (1, 2, 3))
    assert not torch.equal(ancestor_mask(branch, response, real, causal=4), whole)


def responses_of(batch: TreeBatch) -> list[list[int]]:
    return [batch.targets[batch.response_index == r].tolist() for r in range(batch.num_responses)]


def test_responses_are_numbered_tree_by_tree_and_end_the_sequence(collate: TreeCollator) -> None:
    batch = collate([RED, WHITE, BLUE])
    texts = [toy.processor().tokenizer.decode(ids) for ids in responses_of(batch)]
    assert texts == [f" {response}</s>" for _, _, response in conversations(RED, WHITE, BLUE)]
    assert batch.response_index.tolist() == sorted(batch.response_index.tolist())


def test_layout_of_a_row(collate: TreeCollator) -> None:
    """[BOS] USER: image x 4 | question | response 1 | response 2 | padding to a multiple of LENGTH_STEP.

    Position ids restart at each response; end-of-sequence is predicted but never fed.
    """
    encoder = collate.encoder
    batch = collate([Tree(toy.image("red"), (Branch(toy.WHAT, ("red", toy.REFUSALS[0])),))])
    suffix, first, second = encoder.suffix_ids(toy.WHAT), encoder.response_ids("red"), encoder.response_ids(toy.REFUSALS[0])
    ids, positions = batch.inputs["input_ids"][0].tolist(), batch.inputs["position_ids"][0].tolist()
    prefix = ids.index(encoder.image_token_id) + 4
    start = prefix + len(suffix)
    end = start + len(first) - 1 + len(second) - 1
    assert ids[prefix - 4 : prefix] == [encoder.image_token_id] * 4
    assert ids[prefix:end] == suffix + first[:-1] + second[:-1]
    assert positions[:end] == [*range(start), *range(start, start + len(first) - 1), *range(start, start + len(second) - 1)]
    assert len(ids) % LENGTH_STEP == 0
    assert 0 <= len(ids) - end < LENGTH_STEP
    assert set(ids[end:]) <= {toy.processor().tokenizer.pad_token_id}
    assert encoder.eos_token_id not in ids
    assert batch.prompt_ends == [[start - 1]]
    assert batch.keep >= len(ids) - (start - 1), "logits are needed from the last token of the first prompt on"
    where = [p + len(ids) - batch.keep for p in batch.predictors.tolist()]
    second_start = start + len(first) - 1
    assert where == [start - 1, *range(start, second_start), start - 1, *range(second_start, end)]
    assert batch.targets.tolist() == first + second


def test_an_empty_response_is_its_end_of_sequence(collate: TreeCollator) -> None:
    ids = collate.encoder.response_ids("")
    assert ids[-1] == collate.encoder.eos_token_id
    assert collate.encoder.decode(ids) == ""


def test_what_is_encoded_is_the_template(collate: TreeCollator) -> None:
    text = toy.conversation(toy.WHO, toy.REFUSALS[1])
    whole = toy.processor()(text=[text], images=[toy.image("red")], add_special_tokens=False)["input_ids"][0]
    image_end = len(whole) - whole[::-1].index(collate.encoder.image_token_id)
    assert collate.encoder.suffix_ids(toy.WHO) + collate.encoder.response_ids(toy.REFUSALS[1]) == list(whole[image_end:])
    assert collate.encoder.decode(collate.encoder.response_ids(toy.REFUSALS[1])) == toy.REFUSALS[1]


def test_trees_without_responses_carry_the_prompt_ends(collate: TreeCollator) -> None:
    batch = collate([Tree(toy.image("red"), (Branch(toy.WHAT), Branch(toy.WHO))), Tree(toy.image("blue"), (Branch(toy.WHO),))])
    ids = batch.inputs["input_ids"]
    ends = toy.processor().tokenizer.convert_tokens_to_ids(":")
    assert [[ids[b, end].item() for end in of_tree] for b, of_tree in enumerate(batch.prompt_ends)] == [[ends, ends], [ends]]
    assert (batch.num_responses, len(batch.targets)) == (0, 0)
    assert batch.keep >= ids.shape[1] - min(batch.prompt_ends[0][0], batch.prompt_ends[1][0])


def test_to_casts_pixels_and_leaves_ids_alone(collate: TreeCollator) -> None:
    batch = collate([RED]).to(torch.device("cpu"), torch.bfloat16)
    assert batch.inputs["pixel_values"].dtype == torch.bfloat16
    assert batch.inputs["input_ids"].dtype == batch.targets.dtype == torch.long
    assert batch.inputs["attention_mask"].dtype == torch.bool


def test_a_tree_without_branches_is_refused(collate: TreeCollator) -> None:
    with pytest.raises(ValueError, match="at least one branch"):
        collate([RED, Tree(toy.image("red"), ())])


def test_a_template_without_an_image_is_refused() -> None:
    processor = copy.copy(toy.processor())
    processor.chat_template = processor.chat_template.replace("<image>", "")
    with pytest.raises(ValueError, match="renders no image token for 'who made it"):
        ConversationEncoder(processor).suffix_ids(toy.WHO)


def test_a_template_that_merges_tokens_into_the_response_is_refused() -> None:
    """Behind "ASSISTANT: " the space is a token of its own; with the response it becomes part of " red"."""
    processor = copy.copy(toy.processor())
    processor.chat_template = processor.chat_template.replace(" ASSISTANT:{%", " ASSISTANT: {%")
    with pytest.raises(ValueError, match="merges tokens across the start of the response 'red'"):
        ConversationEncoder(processor).response_ids("red")


def test_a_processor_without_an_image_token_is_refused() -> None:
    class Mute:
        tokenizer = toy.processor().tokenizer

    with pytest.raises(ValueError, match="Mute names no image token"):
        ConversationEncoder(Mute())
