"""A tiny checkpoint of every family, and the plain conversation that its prefix trees are held against."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import toy
from PIL import Image
from torch import Tensor

from inbol.models.conversation import ConversationEncoder
from inbol.models.families import FAMILIES
from inbol.models.tiny_families import build_tiny
from inbol.models.tree import Branch, Tree

NAMES = tuple(FAMILIES)
TEXTS = [toy.WHAT, toy.WHO, *toy.COLORS, *toy.REFUSALS, "User: Assistant: yes no"] * 3


@cache
def processor(name: str) -> Any:
    """The family's own class; its tokenizer knows the texts of `toy`."""
    return toy.processor() if name == "llava" else build_tiny(name, TEXTS)[1]


def model(name: str, *, seed: int = 0, scale: float = 4.0) -> Any:
    """Random weights in eval mode, matrices scaled up so that answers differ by whole nats."""
    if name == "llava":
        return toy.model(seed, scale=scale)
    made = build_tiny(name, TEXTS, seed=seed)[0].eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.mul_(scale)
    return made


def picture(color: str, *, wide: bool = False) -> Image.Image:
    """64 x 64, or 96 x 48, which families that cut pictures up lay out otherwise."""
    return toy.image(color).resize((96, 48) if wide else (64, 64))


def trees() -> list[Tree]:
    """Two pictures of different shape and a question without one; responses of unequal length."""
    return [
        Tree(picture("red"), (Branch(toy.WHAT, ("red", toy.REFUSALS[0])), Branch(toy.WHO, (toy.REFUSALS[1], "blue")))),
        Tree(picture("blue", wide=True), (Branch(toy.WHAT, ("blue",)),)),
        Tree(None, (Branch(toy.WHO, ("red", toy.REFUSALS[2])),)),
    ]


def plain_logps(made: Any, name: str, asked: list[Tree]) -> Tensor:
    """[R] summed log-probabilities, each response in a row of its own: the processor's whole output, the model's own positions and mask."""
    encode, encoder = processor(name), ConversationEncoder(processor(name))
    sums = []
    for tree in asked:
        for branch in tree.branches:
            for response in branch.responses:
                images = {"images": [tree.image]} if tree.image is not None else {}
                text = encoder.render(branch.prompt, image=tree.image is not None)
                batch = dict(encode(text=[text], add_special_tokens=False, return_tensors="pt", **images))
                target = torch.tensor([encoder.response_ids(response)])
                for key in ("input_ids", "mm_token_type_ids"):
                    if key in batch:
                        more = target if key == "input_ids" else torch.zeros_like(target)
                        batch[key] = torch.cat([batch[key], more.to(batch[key].dtype)], dim=1)
                batch["attention_mask"] = torch.ones_like(batch["input_ids"])
                known = {key: value for key, value in batch.items() if key not in ("num_patches", "batch_num_images", "rows", "cols")}
                logps = made(**known).logits.log_softmax(-1)[0, -target.shape[1] - 1 : -1]
                sums.append(logps.gather(1, target[0][:, None]).sum())
    return torch.stack(sums)
