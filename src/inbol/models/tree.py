"""Prefix trees: an image once, below it each question once, below that its responses.

A row of a batch holds one tree, or several up to a budget of tokens. A token sees its ancestors and neither its siblings nor other trees,
and position ids restart at each branch, so the log-probability of a response is the one of the padded conversation (image, question,
response), within floating-point noise. Losses do not know about trees.

Shapes: B rows, T tokens of the longest row, N response tokens and R responses of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from inbol.losses.logps import num_tokens, sum_by_response
from inbol.models.attention import splits_masks
from inbol.models.conversation import ConversationEncoder
from inbol.models.families import family_of_processor, prefix_positions
from inbol.models.head import logps_at, states_at
from inbol.models.unread import skip_unread

LENGTH_STEP = 8
"""Rows are padded to a multiple of this: a fresh length every step would fill the CPU kernels' caches, gigabytes in a few hundred steps."""
BLANK = (64, 64)
"""Size of the picture that is shown where a batch has none and every rank must run the vision tower."""
IGNORED = -1
"""Marks "no branch" (the shared prefix) and "no response" (a prompt) in the ancestor arithmetic."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A question and the responses below it."""

    prompt: str
    responses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """An image and what is asked about it."""

    image: Image.Image | None
    """None for questions about nothing that is shown."""
    branches: tuple[Branch, ...]


@dataclass(slots=True)
class TreeBatch:
    """Model inputs and where the responses' log-probabilities are to be read."""

    inputs: dict[str, Tensor]
    """`input_ids` [B, T], `attention_mask` bool [B, 1, T, T], `position_ids` [B, T], or [3, B, T] with mrope, and the image tensors of the
    processor, in the order in which the images stand in the rows."""
    predictors: Tensor
    """[N] index into the flattened [B * keep] positions whose logits predict a response token."""
    targets: Tensor
    """[N] the predicted token ids."""
    response_index: Tensor
    """[N] which response a target belongs to, in [0, R)."""
    num_responses: int
    """R; responses are numbered tree by tree, branch by branch."""
    read: Tensor
    """[M] index into the flattened [B * T] positions, ascending: the predictors, each once, and the last tokens of prompts."""
    keep: int
    """What reaches the output head are the last `keep` positions of each row; before them stands no token that predicts anything."""
    prompt_ends: list[list[int]] = field(default_factory=list)
    """Per tree and branch: position of the prompt's last token in its row, where decoding starts."""
    tree_rows: list[int] = field(default_factory=list)
    """Per tree: its row."""
    tokens: int = 0
    """Tokens that are no padding."""
    causal: int = 0
    """In every row the tokens of the first `causal` positions see all that stands before them; T where no row has two branches, two
    responses or two trees."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> TreeBatch:
        """The same batch on `device`; images in `dtype` when given."""
        inputs = {name: t.to(device, dtype) if dtype and t.is_floating_point() else t.to(device) for name, t in self.inputs.items()}
        moved = {name: getattr(self, name).to(device) for name in ("predictors", "targets", "response_index", "read")}
        return replace(self, inputs=inputs, **moved)


class TreeCollator:
    """Trees in, `TreeBatch` out."""

    def __init__(self, processor: Any, *, row_tokens: int = 0, always_image: bool = False) -> None:
        """
        Args:
            processor: of one of the families in `models/families.py`.
            row_tokens: trees are packed into rows of at most so many tokens (a longer tree has a row of its own); 0 gives each its own.
            always_image: show a blank picture where a batch has none, so that every rank runs the vision tower: were some to run it and
                some not, they would wait for each other's collectives for ever (ZeRO-3 gathers the tower's weights).
        """
        self.family = family_of_processor(processor)
        self.encoder = ConversationEncoder(processor)
        self.processor = processor
        self.row_tokens, self.always_image = row_tokens, always_image
        self.pad_token_id = int(processor.tokenizer.pad_token_id)
        self._prefix: dict[tuple[int, int], tuple[list[int], list[list[int]], int]] = {}

    def __call__(self, trees: Sequence[Tree]) -> TreeBatch:
        """Collate; every tree needs at least one branch.

        Raises:
            ValueError: a tree without branches, or a processor whose text carries no image token.
        """
        if any(not tree.branches for tree in trees):
            raise ValueError("a tree needs at least one branch (a question)")
        laid = [self._lay(tree) for tree in trees]
        images = [tree.image for tree in trees]
        if self.always_image and not any(images):
            blank = Tree(Image.new("RGB", BLANK), ())
            laid.append(self._lay(blank))
            images.append(blank.image)
        rows = pack([len(tree.ids) for tree in laid], self.row_tokens)
        length = _round_up(max(sum(len(laid[t].ids) for t in row) for row in rows))
        place = {t: (b, sum(len(laid[before].ids) for before in row[:n])) for b, row in enumerate(rows) for n, t in enumerate(row)}

        def lines(of: Callable[[_Laid], list[int]], filler: int, dtype: torch.dtype) -> Tensor:
            return _padded([[token for t in row for token in of(laid[t])] for row in rows], length, filler, dtype)

        targets = [(*place[t], target, t) for t, tree in enumerate(laid) for target in tree.targets]
        ends = [(place[t][0], place[t][1] + end) for t, tree in enumerate(laid) for end in tree.prompt_ends]
        read = {*ends, *((b, offset + position) for b, offset, (position, _, _), _ in targets)}
        first = min(position for _, position in read)
        first -= first % LENGTH_STEP
        keep = length - first
        numbers = list(accumulate((tree.num_responses for tree in laid), initial=0))
        axes = [lines(lambda tree, axis=axis: tree.positions[axis], 0, torch.long) for axis in range(self.family.axes)]  # type: ignore[misc]
        owner = [[n for n, t in enumerate(row) for _ in laid[t].ids] for row in rows]
        # behind a lone tree without siblings stands nothing but padding, which no token sees
        causal = min(length if len(row) == 1 and laid[row[0]].causal == len(laid[row[0]].ids) else laid[row[0]].causal for row in rows)
        return TreeBatch(
            inputs={
                "input_ids": lines(lambda tree: tree.ids, self.pad_token_id, torch.long),
                "attention_mask": ancestor_mask(
                    lines(lambda tree: tree.branch, IGNORED, torch.int16),
                    lines(lambda tree: tree.response, IGNORED, torch.int16),
                    torch.arange(length) < torch.tensor([[len(line)] for line in owner]),
                    _padded(owner, length, IGNORED, torch.int16) if len(rows) < len(laid) else None,
                    causal=causal,
                ),
                "position_ids": axes[0] if len(axes) == 1 else torch.stack(axes),
                **self._image_inputs([image for row in rows for t in row if (image := images[t]) is not None]),
            },
            predictors=torch.tensor([b * keep + offset + p - first for b, offset, (p, _, _), _ in targets], dtype=torch.long),
            targets=torch.tensor([token for _, _, (_, token, _), _ in targets], dtype=torch.long),
            response_index=torch.tensor([numbers[t] + local for _, _, (_, _, local), t in targets], dtype=torch.long),
            num_responses=numbers[-1],
            read=torch.tensor(sorted(b * length + position for b, position in read), dtype=torch.long),
            keep=keep,
            prompt_ends=[[place[t][1] + end for end in laid[t].prompt_ends] for t in range(len(trees))],
            tree_rows=[place[t][0] for t in range(len(trees))],
            tokens=sum(len(tree.ids) for tree in laid),
            causal=causal,
        )

    def prefix_length(self, size: tuple[int, int]) -> tuple[int, int]:
        """(tokens up to where questions begin, position that follows them) with an image of (width, height) pixels. With mrope the latter
        is less."""
        ids, _, follow = self._prefix_of(Image.new("RGB", size))
        return len(ids), follow

    def _prefix_of(self, image: Image.Image) -> tuple[list[int], list[list[int]], int]:
        """(token ids up to where the question starts, their positions by axis, the position that follows); they depend on the image's size
        alone."""
        if image.size not in self._prefix:
            text, suffix = self.encoder.render("?"), self.encoder.suffix_ids("?")
            encoded = self.processor(text=[text], images=[image], add_special_tokens=False, return_tensors="pt")
            ids = encoded["input_ids"][0].tolist()
            if ids[-len(suffix) :] != suffix:
                raise ValueError(f"{type(self.processor).__name__} changes the text after the image; trees need a clean boundary there")
            ids = ids[: -len(suffix)]
            self._prefix[image.size] = ids, *prefix_positions(self.family, self.processor, ids, encoded)
        return self._prefix[image.size]

    def _image_inputs(self, images: list[Image.Image]) -> dict[str, Tensor]:
        """What the vision tower reads."""
        if not images:
            return {}
        own = getattr(self.processor, "images_kwargs", {})  # what the processor itself would pass on
        encoded = self.processor.image_processor(images=[[image] for image in images], return_tensors="pt", **own)
        return {name: encoded[name] for name in self.family.image_inputs if name in encoded}

    def _lay(self, tree: Tree) -> _Laid:
        shown = tree.image is not None
        prefix, axes, follow = self._prefix_of(tree.image) if tree.image is not None else ([], [[]] * self.family.axes, 0)
        laid = _Laid(
            ids=list(prefix),
            positions=[list(axis) for axis in axes],
            branch=[IGNORED] * len(prefix),
            response=[IGNORED] * len(prefix),
            causal=len(prefix),
        )
        for b, branch in enumerate(tree.branches):
            suffix = self.encoder.suffix_ids(branch.prompt, image=shown)
            laid.extend(suffix, start=follow, branch=b, response=IGNORED)
            prompt_end = len(laid.ids) - 1
            laid.prompt_ends.append(prompt_end)
            for response in branch.responses:
                ids = self.encoder.response_ids(response)
                start = len(laid.ids)
                laid.extend(ids[:-1], start=follow + len(suffix), branch=b, response=laid.num_responses)  # EOS predicts nothing
                where = [prompt_end, *range(start, start + len(ids) - 1)]
                laid.targets.extend((position, token, laid.num_responses) for position, token in zip(where, ids, strict=True))
                laid.num_responses += 1
        return laid


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Which trees share a row: first-fit decreasing bin packing, at most 11/9 of the fewest rows and a bit (Johnson 1973).

    Args:
        lengths: tokens of each tree.
        budget: tokens of a row; a longer tree has one of its own. 0: every tree has.

    Returns:
        Tree numbers by row, ascending within a row and by their first one.
    """
    if budget <= 0:
        return [[t] for t in range(len(lengths))]
    rows: list[list[int]] = []
    left: list[int] = []
    for t in sorted(range(len(lengths)), key=lambda t: -lengths[t]):
        row = next((r for r, space in enumerate(left) if lengths[t] <= space), None)
        if row is None:
            rows.append([])
            left.append(budget)
            row = len(rows) - 1
        rows[row].append(t)
        left[row] -= lengths[t]
    return sorted(sorted(row) for row in rows)


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _padded(rows: Sequence[Sequence[int]], length: int, filler: int, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as one tensor [B, length]."""
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows], dtype=dtype)


@dataclass(slots=True)
class _Laid:
    """One tree laid out in a line."""

    ids: list[int]
    positions: list[list[int]]
    branch: list[int]
    response: list[int]
    targets: list[tuple[int, int, int]] = field(default_factory=list)
    prompt_ends: list[int] = field(default_factory=list)
    num_responses: int = 0
    causal: int = 0
    """Tokens up to the first that has a sibling before it: a second question, or a second response."""

    def extend(self, ids: list[int], *, start: int, branch: int, response: int) -> None:
        if self.causal == len(self.ids) and branch <= 0 and response <= 0:
            self.causal += len(ids)
        self.ids.extend(ids)
        for axis in self.positions:
            axis.extend(range(start, start + len(ids)))
        self.branch.extend([branch] * len(ids))
        self.response.extend([response] * len(ids))


def ancestor_mask(branch: Tensor, response: Tensor, real: Tensor, tree: Tensor | None = None, *, causal: int = 0) -> Tensor:
    """Which token sees which: itself and its ancestors.

    Args:
        branch: [B, T] branch number, any integer type, -1 in the shared prefix.
        response: [B, T] response number within the tree, any integer type, -1 in prefix and prompts.
        real: [B, T] False at padding.
        tree: [B, T] tree number within the row, any integer type; None where every row holds one.
        causal: the first so many tokens of every row have no siblings before them, which saves looking for them.

    Returns:
        bool [B, 1, T, T], True where query (dim 2) may attend to key (dim 3). Padding sees itself alone, so that no row of a softmax is
        empty.
    """
    length = branch.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril() & real[:, None, :] & real[:, :, None]
    for number in (branch, response, tree):
        if number is not None and causal < length:
            key, query = number[:, None, :], number[:, causal:, None]
            mask[:, causal:] &= (key == query) if number is tree else (key == IGNORED) | (key == query)
    mask |= torch.eye(length, dtype=torch.bool, device=branch.device)
    return mask[:, None]


def forward_trees(model: Any, batch: TreeBatch, **options: Any) -> Any:
    """The model's output for a batch, the last `keep` positions of each row, of use at `read` alone; `options` go to its forward."""
    if splits_masks(model):
        skip_unread(model)
        options |= {"read": batch.read, "first_read": batch.inputs["input_ids"].shape[1] - batch.keep}
    return model(**model_inputs(model, batch), logits_to_keep=batch.keep, **options)


def model_inputs(model: Any, batch: TreeBatch) -> dict[str, Tensor]:
    """What `model` is called with: floats in its dtype, and the mask as far as it needs one."""
    dtype = next(p.dtype for p in model.parameters())
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.inputs.items()}
    # the kernels add a mask to the scores and would make this of the bool one anew in every layer and pass
    seen = inputs["attention_mask"][:, :, batch.causal if splits_masks(model) else 0 :]
    inputs["attention_mask"] = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
    return inputs


def response_logps(model: Any, batch: TreeBatch) -> tuple[Tensor, Tensor]:
    """Log-probability of every response of a batch.

    Args:
        model: anything called like a `transformers` vision-language model (a DeepSpeed engine too).
        batch: collated trees, on the model's device.

    Returns:
        ([R] nats summed over the response tokens, [R] number of response tokens, end-of-sequence included).
    """
    with logps_at(model, batch.predictors, batch.targets):
        tokens = forward_trees(model, batch, use_cache=False).logits.reshape(-1)
    return sum_by_response(tokens, batch.response_index, batch.num_responses), num_tokens(batch.response_index, batch.num_responses)


def prompt_states(model: Any, batch: TreeBatch) -> Tensor:
    """[Q, D] what reaches the output head at the last token of every prompt, tree by tree; `batch` as in `response_logps`."""
    first = batch.inputs["input_ids"].shape[1] - batch.keep
    places = [row * batch.keep + end - first for row, ends in zip(batch.tree_rows, batch.prompt_ends, strict=True) for end in ends]
    with states_at(model, torch.tensor(places, device=batch.inputs["input_ids"].device)) as states:
        forward_trees(model, batch, use_cache=False)
    return states[0]
