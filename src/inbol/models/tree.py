"""Prefix trees: an image once, below it each question once, below that its responses.

A tree is one row of a batch. A token sees its ancestors and not its siblings, and position ids restart at each branch, so the
log-probability of a response is the one of the padded conversation (image, question, response), within floating-point noise. Losses do not
know about trees.

Shapes: B rows (trees), T tokens of the longest row, N response tokens and R responses of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from inbol.losses.logps import num_tokens, sum_by_response, token_logps

LENGTH_STEP = 16
"""Rows are padded to a multiple of this: a fresh length every step would fill the CPU kernels' caches, gigabytes in a few hundred steps."""
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

    image: Image.Image
    branches: tuple[Branch, ...]


@dataclass(slots=True)
class TreeBatch:
    """Model inputs and where the responses' log-probabilities are to be read."""

    inputs: dict[str, Tensor]
    """`input_ids` [B, T], `attention_mask` bool [B, 1, T, T], `position_ids` [B, T], and the image tensors of the processor."""
    predictors: Tensor
    """[N] index into the flattened [B * keep] positions whose logits predict a response token."""
    targets: Tensor
    """[N] the predicted token ids."""
    response_index: Tensor
    """[N] which response a target belongs to, in [0, R)."""
    num_responses: int
    """R; responses are numbered tree by tree, branch by branch."""
    keep: int
    """Logits are needed for the last `keep` positions of each row alone: the image's are never computed."""
    prompt_ends: list[list[int]] = field(default_factory=list)
    """Per tree and branch: position of the prompt's last token, where decoding starts."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> TreeBatch:
        """The same batch on `device`; images in `dtype` when given."""
        inputs = {name: t.to(device, dtype) if dtype and t.is_floating_point() else t.to(device) for name, t in self.inputs.items()}
        moved = {name: getattr(self, name).to(device) for name in ("predictors", "targets", "response_index")}
        return replace(self, inputs=inputs, **moved)


class ConversationEncoder:
    """Turns questions and responses into token ids by the processor's own chat template, each distinct text once.

    The boundary between prompt and response is found by rendering the conversation with and without the response; a template that merges
    tokens across it is refused.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token_id = _image_token_id(processor)
        self.eos_token_id = int(self.tokenizer.eos_token_id)
        self.bos = _missing_bos(self.tokenizer)
        self._suffix: dict[str, list[int]] = {}
        self._response: dict[str, list[int]] = {}

    def render(self, question: str, response: str | None = None) -> str:
        """The conversation as text, ending where the assistant is to speak, or after `response`."""
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        ]
        if response is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
        text = str(self.processor.apply_chat_template(messages, add_generation_prompt=response is None, tokenize=False))
        return text if text.startswith(self.bos) else self.bos + text

    def suffix_ids(self, question: str) -> list[int]:
        """Token ids of the prompt after the image."""
        if question not in self._suffix:
            if self.tokenizer.convert_ids_to_tokens(self.image_token_id) in question:
                raise ValueError(f"the question {question!r} contains the image placeholder itself; remove it from the data")
            ids = self._ids(self.render(question))
            if self.image_token_id not in ids:
                raise ValueError(f"the chat template renders no image token for {question!r}")
            last = len(ids) - 1 - ids[::-1].index(self.image_token_id)
            self._suffix[question] = ids[last + 1 :]
        return self._suffix[question]

    def response_ids(self, response: str) -> list[int]:
        """Token ids of a response, end-of-sequence included."""
        if response not in self._response:
            prompt = self._ids(self.render("?"))
            full = self._ids(self.render("?", response))
            if full[: len(prompt)] != prompt:
                raise ValueError(
                    f"the chat template merges tokens across the start of the response {response!r}; trees need a clean boundary"
                )
            ids = full[len(prompt) :]
            if self.eos_token_id in ids:
                ids = ids[: ids.index(self.eos_token_id)]
            self._response[response] = [*ids, self.eos_token_id]
        return self._response[response]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens removed, stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _missing_bos(tokenizer: Any) -> str:
    """The beginning-of-sequence token where the tokenizer itself puts one before a text and a template may leave that to it; else empty."""
    ids = tokenizer("a")["input_ids"]
    return str(tokenizer.bos_token) if tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id] else ""


def _image_token_id(processor: Any) -> int:
    token_id = getattr(processor, "image_token_id", None)
    if token_id is None:
        raise ValueError(
            f"{type(processor).__name__} names no image token; trees support processors with one placeholder token per image patch"
        )
    return int(token_id)


class TreeCollator:
    """Trees in, `TreeBatch` out."""

    def __init__(self, processor: Any) -> None:
        self.encoder = ConversationEncoder(processor)
        self.processor = processor
        self.pad_token_id = int(processor.tokenizer.pad_token_id)
        self._prefix: dict[tuple[int, int], list[int]] = {}

    def __call__(self, trees: Sequence[Tree]) -> TreeBatch:
        """Collate; every tree needs at least one branch.

        Raises:
            ValueError: a tree without branches, or a processor whose text carries no image token.
        """
        if any(not tree.branches for tree in trees):
            raise ValueError("a tree needs at least one branch (a question)")
        rows = [self._row(self._prefix_ids(tree), tree) for tree in trees]
        length = _round_up(max(len(row.ids) for row in rows))
        real = torch.arange(length) < torch.tensor([[len(row.ids)] for row in rows])
        branch = _padded([row.branch for row in rows], length, IGNORED, torch.int16)
        response = _padded([row.response for row in rows], length, IGNORED, torch.int16)
        first = min((p for row in rows for p, _, _ in row.targets), default=min(row.prompt_ends[0] for row in rows))
        first -= first % LENGTH_STEP
        keep = length - first
        predictors, targets, response_index = [], [], []
        offset = 0
        for b, row in enumerate(rows):
            for position, token, local in row.targets:
                predictors.append(b * keep + position - first)
                targets.append(token)
                response_index.append(offset + local)
            offset += row.num_responses
        inputs = {
            "input_ids": _padded([row.ids for row in rows], length, self.pad_token_id, torch.long),
            "attention_mask": ancestor_mask(branch, response, real),
            "position_ids": _padded([row.positions for row in rows], length, 0, torch.long),
            **self._image_inputs([tree.image for tree in trees]),
        }
        return TreeBatch(
            inputs=inputs,
            predictors=torch.tensor(predictors, dtype=torch.long),
            targets=torch.tensor(targets, dtype=torch.long),
            response_index=torch.tensor(response_index, dtype=torch.long),
            num_responses=offset,
            keep=keep,
            prompt_ends=[row.prompt_ends for row in rows],
        )

    def _prefix_ids(self, tree: Tree) -> list[int]:
        """Token ids up to the image's last token; how many an image takes follows from its size alone."""
        if tree.image.size not in self._prefix:
            text = self.encoder.render(tree.branches[0].prompt)
            encoded = self.processor(text=[text], images=[tree.image], add_special_tokens=False, return_tensors="pt")
            ids = encoded["input_ids"][0].tolist()
            last = len(ids) - 1 - ids[::-1].index(self.encoder.image_token_id)
            self._prefix[tree.image.size] = ids[: last + 1]
        return self._prefix[tree.image.size]

    def _image_inputs(self, images: list[Image.Image]) -> dict[str, Tensor]:
        """What the vision tower reads."""
        encoded = self.processor.image_processor(images=images, return_tensors="pt")
        return {key: value for key, value in encoded.items() if isinstance(value, Tensor)}

    def _row(self, prefix: list[int], tree: Tree) -> _Row:
        row = _Row(ids=list(prefix), positions=list(range(len(prefix))), branch=[IGNORED] * len(prefix), response=[IGNORED] * len(prefix))
        for b, branch in enumerate(tree.branches):
            suffix = self.encoder.suffix_ids(branch.prompt)
            row.extend(suffix, start=len(prefix), branch=b, response=IGNORED)
            prompt_end = len(row.ids) - 1
            row.prompt_ends.append(prompt_end)
            for response in branch.responses:
                ids = self.encoder.response_ids(response)
                start = len(row.ids)
                row.extend(ids[:-1], start=len(prefix) + len(suffix), branch=b, response=row.num_responses)  # EOS predicts nothing
                where = [prompt_end, *range(start, start + len(ids) - 1)]
                row.targets.extend((position, token, row.num_responses) for position, token in zip(where, ids, strict=True))
                row.num_responses += 1
        return row


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def _padded(rows: Sequence[Sequence[int]], length: int, filler: int, dtype: torch.dtype) -> Tensor:
    """Rows of unequal length as one tensor [B, length]."""
    return torch.tensor([[*row, *[filler] * (length - len(row))] for row in rows], dtype=dtype)


@dataclass(slots=True)
class _Row:
    """One tree laid out in a row."""

    ids: list[int]
    positions: list[int]
    branch: list[int]
    response: list[int]
    targets: list[tuple[int, int, int]] = field(default_factory=list)
    prompt_ends: list[int] = field(default_factory=list)
    num_responses: int = 0

    def extend(self, ids: list[int], *, start: int, branch: int, response: int) -> None:
        self.ids.extend(ids)
        self.positions.extend(range(start, start + len(ids)))
        self.branch.extend([branch] * len(ids))
        self.response.extend([response] * len(ids))


def ancestor_mask(branch: Tensor, response: Tensor, real: Tensor) -> Tensor:
    """Which token sees which: itself and its ancestors.

    Args:
        branch: [B, T] branch number, any integer type, -1 in the shared prefix.
        response: [B, T] response number within the row, any integer type, -1 in prefix and prompts.
        real: [B, T] False at padding.

    Returns:
        bool [B, 1, T, T], True where query (dim 2) may attend to key (dim 3). Padding sees itself alone, so that no row of a softmax is
        empty.
    """
    length = branch.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    same_branch = (branch[:, None, :] == IGNORED) | (branch[:, None, :] == branch[:, :, None])
    same_response = (response[:, None, :] == IGNORED) | (response[:, None, :] == response[:, :, None])
    mask = earlier & same_branch & same_response & real[:, None, :] & real[:, :, None]
    mask |= torch.eye(length, dtype=torch.bool, device=branch.device)
    return mask[:, None]


def response_logps(model: Any, batch: TreeBatch) -> tuple[Tensor, Tensor]:
    """Log-probability of every response of a batch.

    Args:
        model: anything called like a `transformers` vision-language model (a DeepSpeed engine too).
        batch: collated trees, on the model's device.

    Returns:
        ([R] nats summed over the response tokens, [R] number of response tokens, end-of-sequence included).
    """
    dtype = next(p.dtype for p in model.parameters())
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.inputs.items()}
    logits = model(**inputs, logits_to_keep=batch.keep, use_cache=False).logits
    tokens = token_logps(logits.reshape(-1, logits.shape[-1])[batch.predictors], batch.targets)
    return sum_by_response(tokens, batch.response_index, batch.num_responses), num_tokens(batch.response_index, batch.num_responses)
