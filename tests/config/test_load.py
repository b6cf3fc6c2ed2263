"""`from_mapping`: values arrive typed, and every mistake is named with its path."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from inbol.config.checks import one_of, positive
from inbol.config.load import ConfigError, from_mapping
from inbol.config.training import DpoConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    size: int = 1
    rate: float = 1.0
    kind: str = "a"

    def __post_init__(self) -> None:
        positive("size", self.size)
        one_of("kind", self.kind, ("a", "b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    name: str
    leaf: Leaf = Leaf()
    leaves: tuple[Leaf, ...] = ()
    words: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    level: int | None = None
    on: bool = False

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("leaf.size: too small for a bad tree")
        if self.name == "worse":
            raise ValueError("the tree as a whole is wrong")


def mistakes(mapping: object, path: str = "") -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        from_mapping(Tree, mapping, path)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_values_arrive_with_their_types() -> None:
    raw = {
        "name": "x",
        "leaf": {"rate": 2},
        "leaves": [{"size": 3}, {"kind": "b"}],
        "words": ["u", "v"],
        "labels": {"k": "w"},
        "level": None,
    }
    tree = from_mapping(Tree, raw)
    assert tree == Tree(name="x", leaf=Leaf(rate=2.0), leaves=(Leaf(size=3), Leaf(kind="b")), words=("u", "v"), labels={"k": "w"})
    assert isinstance(tree.leaf.rate, float)
    assert from_mapping(Tree, {"name": "x", "level": 4}).level == 4


def test_an_unknown_key_names_the_path_the_nearest_and_the_allowed_keys() -> None:
    (message,) = mistakes({"name": "x", "leaf": {"sise": 2}})
    assert message == "leaf.sise: unknown key (value 2); did you mean 'size'? allowed: size, rate, kind"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"name": 3}, "name: 3 is int, expected str"),
        ({"name": "x", "leaf": {"rate": "abc"}}, "leaf.rate: 'abc' is str, expected a finite float"),
        ({"name": "x", "leaf": {"rate": float("nan")}}, "leaf.rate: nan is float, expected a finite float"),
        ({"name": "x", "leaf": {"size": True}}, "leaf.size: True is bool, expected int"),
        ({"name": "x", "leaf": {"size": 2.0}}, "leaf.size: 2.0 is float, expected int"),
        ({"name": "x", "leaf": 5}, "leaf: 5 is int, expected a mapping of size, rate, kind"),
        ({"name": "x", "words": "abc"}, "words: 'abc' is str, expected a list of str"),
        ({"name": "x", "leaves": [{}, {"size": "s"}]}, "leaves[1].size: 's' is str, expected int"),
        ({"name": "x", "labels": {"k": 1}}, "labels.k: 1 is int, expected str"),
        ({"name": "x", "level": "s"}, "level: 's' is str, expected int"),
        ({"name": "x", "on": 1}, "on: 1 is int, expected bool"),
        ({"name": None}, "name: None is null, expected str"),
        ({}, "name: missing, expected str"),
    ],
)
def test_a_wrong_value_names_path_value_and_what_is_expected(raw: dict[str, object], expected: str) -> None:
    assert mistakes(raw) == (expected,)


def test_what_post_init_refuses_carries_the_path() -> None:
    assert mistakes({"name": "x", "leaves": [{"size": 0}]}) == ("leaves[0].size: 0 must be greater than 0",)
    assert mistakes({"name": "bad"}, "tree") == ("tree.leaf.size: too small for a bad tree",)
    assert mistakes({"name": "worse"}, "tree") == ("tree: the tree as a whole is wrong",)


def test_all_mistakes_come_at_once() -> None:
    """Two refused by one __post_init__, one unknown key, one wrong type behind a missing value."""
    errors = mistakes({"leaf": {"size": -1, "kind": "c"}, "colour": 1, "words": 7})
    assert errors == (
        "colour: unknown key (value 1); allowed: name, leaf, leaves, words, labels, level, on",
        "name: missing, expected str",
        "leaf.size: -1 must be greater than 0",
        "leaf.kind: 'c' is not one of 'a', 'b'",
        "words: 7 is int, expected a list of str",
    )


def test_a_real_config() -> None:
    config = from_mapping(DpoConfig, {"optim": {"lr": 5e-4}, "beta": 1}, "dpo")
    assert config.beta == 1.0 and config.optim.lr == 5e-4
    with pytest.raises(ConfigError, match=r"^dpo\.beta: 'abc' is str"):
        from_mapping(DpoConfig, {"optim": {"lr": 5e-4}, "beta": "abc"}, "dpo")
