"""How long trees are, and what is said about one that is too long."""

from __future__ import annotations

from typing import Any

import pytest
import toy

from inbol.models.tree import Branch, Tree, TreeCollator
from inbol.training.lengths import Paths, check_lengths, measure

COLLATOR = TreeCollator(toy.processor())
SIZE = toy.image("red").size
SHORT: Paths = [(toy.WHAT, "red")]
LONG: Paths = [(toy.WHAT, "red"), (toy.WHAT, toy.REFUSALS[0]), (f"{toy.WHAT} {toy.WHAT}", "red")]
TREES = [("a", "k1", SHORT), ("b", "k2", LONG)]


def check(**limits: Any) -> dict[str, Any]:
    return check_lengths(TREES, lambda key: SIZE, COLLATOR, **{"tree_tokens": 0, "positions": None, **limits})


def test_lengths_are_those_of_the_collated_trees() -> None:
    """The tree's tokens are the row's; the longest path is one conversation laid alone."""
    branches = (Branch(toy.WHAT, ("red", toy.REFUSALS[0])), Branch(f"{toy.WHAT} {toy.WHAT}", ("red",)))
    found = measure("b", LONG, SIZE, COLLATOR)
    assert found.tree == COLLATOR([Tree(toy.image("red"), branches)]).tokens
    alone = [COLLATOR([Tree(toy.image("red"), (Branch(prompt, (response,)),))]).tokens for prompt, response in LONG]
    assert found.path == max(alone)
    without = COLLATOR([Tree(None, (Branch(toy.WHAT, ("red",)),))]).tokens
    assert measure("c", SHORT, (0, 0), COLLATOR).tree == without


def test_the_longest_is_told_where_all_fits() -> None:
    longest = measure("b", LONG, SIZE, COLLATOR)
    assert check() == {"longest_tree": longest.tree, "longest_conversation": longest.path, "longest": "b"}
    check(tree_tokens=longest.tree, positions=longest.path)


def test_a_tree_that_is_too_long_is_named_with_two_ways_out() -> None:
    longest = measure("b", LONG, SIZE, COLLATOR)
    apart = max(measure("b", [path for path in LONG if path[0] == prompt], SIZE, COLLATOR).tree for prompt in dict(LONG))
    message = (
        rf"b with 2 questions takes {longest.tree} tokens, {longest.image} of them for the image of .*, more than optim.tree_tokens="
        rf"{longest.tree - 1}; nothing is cut. Set optim.tree_tokens={longest.tree}, or optim.group_by_image=false, with which the longest "
        rf"takes {apart}$"
    )
    with pytest.raises(ValueError, match=message):
        check(tree_tokens=longest.tree - 1)


def test_a_conversation_longer_than_the_model_is_refused() -> None:
    """The toy's image tokens do not depend on the image's size, so that a smaller image is no way out."""
    longest = measure("b", LONG, SIZE, COLLATOR)
    with pytest.raises(ValueError, match=rf"the model has {longest.path - 1} positions; .*take a model with more positions"):
        check(positions=longest.path - 1)
