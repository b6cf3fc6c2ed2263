"""Other wordings of easy-VQA's questions, with exactly the same answers.

The data set has 24 templates. Each is parsed into a `Meaning` (what is asked, about which colour or shape, negated or not) and rendered
again by the patterns of `wordings_text`. One sentence in five, chosen by its hash and never one of the data set's own, is `unseen` and
occurs in evaluation alone; the others are `seen` and may occur in every split. The two are disjoint, but every word of an unseen sentence
occurs in some seen one, so that a from-scratch tokenizer and embedding have met it.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from inbol.sources.wordings_text import ORIGINAL, PATTERNS

COLORS = ("red", "green", "blue", "black", "gray", "teal", "brown", "yellow")
"""easy-VQA's colours."""
SHAPES = ("circle", "rectangle", "triangle")
"""easy-VQA's shapes."""

Group = Literal["seen", "unseen"]
UNSEEN_EVERY = 5
"""One sentence in this many is kept for evaluation."""

_KINDS = {"what-shape": "shape", "what-shape-of-color": "shape", "what-color": "color", "what-color-of-shape": "color"}
_COLOR = re.compile(rf"\b({'|'.join(COLORS)})\b")
_SHAPE = re.compile(rf"\b({'|'.join(SHAPES)})\b")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a question asks; two questions with equal meanings have equal answers for every image."""

    name: str
    """Meaning class, a key of `ORIGINAL`: `what-shape`, `what-shape-of-color`, `has-color`, `no-shape`, ..."""
    color: str = ""
    """The colour the question names, or empty."""
    shape: str = ""
    """The shape the question names, or empty."""

    @property
    def kind(self) -> str:
        """Question type: `shape`, `color` or `yes/no`."""
        return _KINDS.get(self.name, "yes/no")

    @property
    def negated(self) -> bool:
        """True where "yes" says that something is absent."""
        return self.name.startswith("no-")


@cache
def parse(text: str) -> Meaning:
    """The meaning of an original, seen or unseen wording.

    Raises:
        ValueError: no such wording.
    """
    template = _SHAPE.sub("{shape}", _COLOR.sub("{color}", text))
    if template not in _classes():
        raise ValueError(f"not a wording of an easy-VQA question: {text!r}")
    color, shape = _COLOR.search(text), _SHAPE.search(text)
    return Meaning(_classes()[template], color[1] if color else "", shape[1] if shape else "")


def answer(meaning: Meaning, *, color: str, shape: str) -> str:
    """The answer for an image that shows one `shape` in one `color`."""
    if meaning.kind == "shape":
        return shape
    if meaning.kind == "color":
        return color
    present = meaning.color == color if meaning.color else meaning.shape == shape
    return "yes" if present != meaning.negated else "no"


def reword(text: str, *, group: Group, rng: np.random.Generator) -> str:
    """Another wording of `text` with the same answer, drawn evenly over patterns and then within the pattern.

    Raises:
        ValueError: `text` is no wording of an easy-VQA question.
    """
    meaning = parse(text)
    while True:  # every class has several patterns, so another wording is found
        words = render(meaning, group=group, rng=rng)
        if words != text:
            return words


def render(meaning: Meaning, *, group: Group, rng: np.random.Generator) -> str:
    """A wording of `meaning`, drawn evenly over patterns and then within the pattern."""
    patterns = _expanded(group)[meaning.name]
    templates = patterns[int(rng.integers(len(patterns)))]
    return templates[int(rng.integers(len(templates)))].format(color=meaning.color, shape=meaning.shape)


def with_premise(meaning: Meaning, *, color: str, shape: str) -> Meaning:
    """The same question about an image of one `shape` in one `color`, naming what is there: "what shape is present?" becomes one about "the
    red shape". The answer stays. Meanings that name something already, and attributes that are not known (empty), are left as they are."""
    if meaning.name == "what-shape" and color:
        return Meaning("what-shape-of-color", color=color)
    if meaning.name == "what-color" and shape:
        return Meaning("what-color-of-shape", shape=shape)
    return meaning


def all_wordings(group: Group) -> dict[str, tuple[str, ...]]:
    """Every template by meaning class, with `{color}` and `{shape}` for the slots; `seen` starts with the data set's own templates."""
    own = ORIGINAL if group == "seen" else dict.fromkeys(ORIGINAL, ())
    return {name: (*own[name], *itertools.chain(*_expanded(group)[name])) for name in ORIGINAL}


@cache
def _expanded(group: Group) -> dict[str, tuple[tuple[str, ...], ...]]:
    """By class and pattern, the templates; the data set's own are left out, since drawing one would not reword."""
    result = {}
    for name, lines in PATTERNS.items():
        expanded = (tuple(t for t in _expand(line) if t not in ORIGINAL[name] and _group(t) == group) for line in lines)
        result[name] = tuple(templates for templates in expanded if templates)
    return result


def _group(template: str) -> Group:
    return "unseen" if hashlib.sha256(template.encode()).digest()[0] % UNSEEN_EVERY == 0 else "seen"


@cache
def _classes() -> dict[str, str]:
    groups = (all_wordings("seen"), all_wordings("unseen"))
    return {template: name for group in groups for name, templates in group.items() for template in templates}


def _expand(pattern: str) -> list[str]:
    """All choices of a pattern: `a (b|c) d` gives `a b d` and `a c d`."""
    parts = [part.split("|") for part in re.split(r"[()]", pattern)]
    return ["".join(choice) for choice in itertools.product(*parts)]
