"""A reward model: a vision-language model with a linear head on what reaches the output head at the end of a response."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from inbol.contracts import Question
from inbol.models.head import gather_rows
from inbol.models.load import load_model, load_processor, pick_device
from inbol.models.tree import Branch, Tree, TreeBatch, TreeCollator, forward_trees

HEAD = "reward_head.safetensors"
"""Beside the checkpoint: `weight` [1, D] and `bias` [1]."""


def add_reward_head(model: Any) -> None:
    """Put a linear head in place as `model.reward_head`, all zeros: every response scores 0 before training."""
    head = nn.Linear(int(model.config.get_text_config().hidden_size), 1, dtype=torch.float32, device=model.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.reward_head = head


@contextmanager
def scores_at(model: Any, rows: Tensor) -> Iterator[None]:
    """Within, the model's "logits" are [1, R, 1]: the reward head's scores at the flattened positions `rows` [R].

    The reward head works inside the model's own forward pass: outside of it, ZeRO-3 would not find its way back to it.
    """
    output = model.get_output_embeddings()
    before = vars(output).get("forward")

    def forward(hidden: Tensor) -> Tensor:
        head = model.reward_head
        return head(gather_rows(hidden, rows).to(head.weight.dtype))[None]

    output.forward = forward
    try:
        yield
    finally:
        del output.forward
        if before is not None:
            output.forward = before


def response_scores(model: Any, batch: TreeBatch) -> Tensor:
    """[R] score of every response, from the position of its last token, which has seen all of it.

    Args:
        model: with a `reward_head`; a DeepSpeed engine too.
        batch: collated trees with responses, on the model's device.
    """
    places = torch.arange(len(batch.predictors), device=batch.predictors.device)
    last = places.new_zeros(batch.num_responses).scatter_reduce(0, batch.response_index, places, "amax", include_self=False)
    with scores_at(model, batch.predictors[last]):
        scores: Tensor = forward_trees(model, batch, use_cache=False).logits
    return scores.reshape(-1)


class RewardScorer:
    """A trained reward model that scores responses to questions about images."""

    def __init__(
        self,
        folder: Path,
        load_image: Callable[[str], Image.Image],
        *,
        prompt: Callable[[Question], str] = lambda question: question.text,
        trees_per_batch: int = 16,
    ) -> None:
        """`folder`: with `checkpoint/` and the head beside it. `prompt`: what is asked instead of the question's own text."""
        device = pick_device()
        self.model = load_model(folder / "checkpoint").eval().requires_grad_(False).to(device)
        add_reward_head(self.model)
        self.model.reward_head.load_state_dict(load_file(str(folder / HEAD)))
        self.model.reward_head.requires_grad_(False)
        self.collator = TreeCollator(load_processor(folder / "checkpoint"))
        self.load_image, self.prompt, self.trees_per_batch = load_image, prompt, trees_per_batch

    @torch.inference_mode()
    def __call__(self, questions: Sequence[Question], texts: Sequence[str]) -> list[float]:
        """The score of each response, in nats of log-odds; equal responses to a question are scored once."""
        below: dict[str, list[str]] = defaultdict(list)
        asked = {question.key: question for question in questions}
        for question, text in zip(questions, texts, strict=True):
            if text not in below[question.key]:
                below[question.key].append(text)
        keys, found = list(below), dict[tuple[str, str], float]()
        for start in range(0, len(keys), self.trees_per_batch):
            part = keys[start : start + self.trees_per_batch]
            trees = [Tree(self.load_image(asked[key].image_key), (Branch(self.prompt(asked[key]), tuple(below[key])),)) for key in part]
            batch = self.collator(trees).to(self.model.device, self.model.dtype)
            names = [(key, text) for key in part for text in below[key]]
            found.update(zip(names, response_scores(self.model, batch).tolist(), strict=True))
        return [found[question.key, text] for question, text in zip(questions, texts, strict=True)]
