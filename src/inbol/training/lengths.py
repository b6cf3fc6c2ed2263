"""How long trees are, before anything is trained: image tokens are never cut, so what does not fit is refused, with the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from inbol.models.tree import TreeCollator

Paths = Sequence[tuple[str, str]]
"""(prompt, response) pairs of one tree."""


@dataclass(frozen=True, slots=True)
class Length:
    """One tree in tokens."""

    name: str
    size: tuple[int, int]
    """Pixels of its image; (0, 0) without one."""
    image: int
    """Tokens up to where questions begin."""
    tree: int
    """All of its tokens."""
    path: int
    """Positions of its longest conversation: image, question and response."""
    questions: int


def measure(name: str, paths: Paths, size: tuple[int, int], collator: TreeCollator) -> Length:
    """The length of a tree of these paths below an image of `size` pixels; (0, 0) for none."""
    encoder, shown = collator.encoder, size != (0, 0)
    image, position = collator.prefix_length(size) if shown else (0, 0)
    prompts = {prompt: len(encoder.suffix_ids(prompt, image=shown)) for prompt, _ in paths}
    responses = {path: len(encoder.response_ids(path[1])) - 1 for path in paths}  # the last token is only predicted
    longest = max((prompts[prompt] + tokens for (prompt, _), tokens in responses.items()), default=0)
    return Length(name, size, image, image + sum(prompts.values()) + sum(responses.values()), position + longest, len(prompts))


def check_lengths(
    trees: Iterable[tuple[str, str, Paths]],
    size_of: Callable[[str], tuple[int, int]],
    collator: TreeCollator,
    *,
    tree_tokens: int,
    positions: int | None,
) -> dict[str, Any]:
    """Refuse trees that are too long.

    Args:
        trees: (name, image key, paths) of each.
        size_of: image key -> pixels.
        collator: lays the trees out.
        tree_tokens: the most tokens of a tree; 0 for any.
        positions: that the model has; None where it is not known.

    Returns:
        Facts for the manifest: `longest_tree` and `longest_conversation` in tokens, and `longest`, the former's name.

    Raises:
        ValueError: a tree or a conversation is longer; names the longest, and two settings that would fit it.
    """
    listed = list(trees)
    lengths = [measure(name, paths, size_of(key), collator) for name, key, paths in listed]
    longest, deepest = max(lengths, key=lambda length: length.tree), max(lengths, key=lambda length: length.path)
    if positions and deepest.path > positions:
        raise ValueError(
            f"a conversation about {deepest.name} takes {deepest.path} tokens, {deepest.image} of them for {_picture(deepest)}, and the "
            f"model has {positions} positions; nothing is cut. {_smaller(deepest, deepest.path - positions, collator)}, or leave the "
            "image out"
        )
    if tree_tokens and longest.tree > tree_tokens:
        apart = max(
            measure(name, [(prompt, response) for prompt, response in paths if prompt == asked], size_of(key), collator).tree
            for name, key, paths in listed
            for asked in {prompt for prompt, _ in paths}
        )
        other = (
            f"optim.group_by_image=false, with which the longest takes {apart}"
            if apart <= tree_tokens
            else _smaller(longest, longest.tree - tree_tokens, collator)
        )
        raise ValueError(
            f"{longest.name} with {longest.questions} questions takes {longest.tree} tokens, {longest.image} of them for "
            f"{_picture(longest)}, more than optim.tree_tokens={tree_tokens}; nothing is cut. Set optim.tree_tokens={longest.tree}, "
            f"or {other}"
        )
    return {"longest_tree": longest.tree, "longest_conversation": deepest.path, "longest": longest.name}


def _picture(length: Length) -> str:
    return f"the image of {length.size[0]} x {length.size[1]} pixels" if length.image else "no image"


def _smaller(length: Length, excess: int, collator: TreeCollator) -> str:
    """What to do about the image's share."""
    width, height = length.size
    half = (max(1, width // 2), max(1, height // 2))
    if not length.image or collator.prefix_length(half)[0] >= length.image or excess >= length.image:
        return "its image tokens do not depend on the image's size: take a model with more positions"
    return f"Set source.max_pixels={int(width * height * (1 - excess / length.image) * 0.95)}"
