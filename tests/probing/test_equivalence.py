from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from inbol.probing.equivalence import entailment_groups

ASKED = "what color is it?"
SAME = {frozenset({"red", "scarlet"}), frozenset({"blue", "azure"})}


def entails(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """The equal pairs, and that crimson entails red but not the other way round."""
    words = [tuple(text.removeprefix(f"{ASKED} ").lower().rstrip(".") for text in pair) for pair in pairs]
    return [frozenset(pair) in SAME or pair == ("crimson", "red") for pair in words]


def test_both_directions_are_needed_and_order_plays_no_part() -> None:
    """red and scarlet are one, crimson is not; "Red." is red without asking; the two refusals are one group of their own."""
    texts = ("red", "Red.", "scarlet", "crimson", "azure", "I do not know.")
    expected = {frozenset({"red", "Red.", "scarlet"}), frozenset({"crimson"}), frozenset({"azure"}), frozenset({"I do not know."})}
    for order in permutations(texts):
        groups = entailment_groups(order, ASKED, entails)
        assert {frozenset(t for t, g in zip(order, groups) if g == group) for group in groups} == expected
    groups = entailment_groups(("I do not know.", "I cannot tell.", "blue"), ASKED, entails)
    assert groups[0] == groups[1] != groups[2]


def test_one_answer_needs_no_model() -> None:
    def never(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        raise AssertionError(pairs)

    assert entailment_groups(("red", "Red", "red."), ASKED, never) == (0, 0, 0)
