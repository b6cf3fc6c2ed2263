"""A toy set of images by colour, with the records that train on it, and the plain padded conversation that prefix trees are held against.

Pictures are 16x16 with one colour each (4 image tokens). The model has random weights, scaled up so that its answers differ by whole nats.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from inbol.contracts import PreferencePair, ReferenceLogps, SftExample
from inbol.models.tiny import build_model, build_processor, build_tokenizer

COLORS = {
    "red": (220, 30, 30),
    "green": (30, 200, 60),
    "blue": (40, 60, 220),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
    "gray": (128, 128, 128),
}
WHAT, WHO = "what color is the image?", "who made it?"
REFUSALS = ("I cannot tell.", "The image does not show who made it.", "Sorry, nobody could say that from this picture.")


def image(color: str) -> Image.Image:
    """One colour, with a darker corner."""
    picture = Image.new("RGB", (16, 16), COLORS[color])
    picture.paste((0, 0, 0), (0, 0, 5, 5))
    return picture


@cache
def processor() -> LlavaProcessor:
    """Tokenizer and image processor, trained on the texts of this module."""
    texts = [f"USER: {WHAT} is the image {color}? {WHO} ASSISTANT: {color}" for color in COLORS]
    texts += [f" ASSISTANT: {refusal} yes no" for refusal in REFUSALS]
    return build_processor(build_tokenizer(texts * 3, 400), image_size=16, patch_size=8)


def model(seed: int = 0, *, scale: float = 4.0) -> LlavaForConditionalGeneration:
    """A small random LLaVA in eval mode."""
    made = build_model(
        processor().tokenizer, image_size=16, patch_size=8, hidden_size=32, vision_layers=1, text_layers=2, heads=2, seed=seed
    ).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return made


def sft_examples() -> list[SftExample]:
    """Two to three targets for each of six images, of unequal length and weight; one weight is 0."""
    examples = []
    for n, color in enumerate(COLORS):
        what = {"image_key": color, "prompt": WHAT}
        examples.append(SftExample(key=f"{color}-q0-a", target=color, weight=0.25 + 0.125 * n, role="answer", **what))
        examples.append(SftExample(key=f"{color}-q0-r", target=REFUSALS[0], weight=0.75 - 0.15 * n, role="refusal", **what))
        if n % 2:
            who = {"image_key": color, "prompt": WHO}
            examples.append(SftExample(key=f"{color}-q1-r", target=REFUSALS[n % 3], weight=float(n - 1), role="refusal", **who))
    return examples


def pairs() -> list[PreferencePair]:
    """Two or three pairs for each of six images, some of which share responses; unequal weights and confidences."""
    made, names = [], list(COLORS)
    for n, color in enumerate(names):
        wrong, common = names[n - 1], {"image_key": color}
        made.append(
            PreferencePair(key=f"{color}-q0-p0", prompt=WHAT, chosen=color, rejected=REFUSALS[0], confidence=0.9 - 0.05 * n,
                           answer_is_chosen=True, weight=0.5 + 0.25 * n, **common)
        )  # fmt: skip
        made.append(
            PreferencePair(key=f"{color}-q0-p1", prompt=WHAT, chosen=REFUSALS[0], rejected=wrong, confidence=0.1 * n,
                           answer_is_chosen=False, weight=1.0, **common)
        )  # fmt: skip
        if n % 2 == 0:
            made.append(
                PreferencePair(key=f"{color}-q1-p0", prompt=WHO, chosen=REFUSALS[1 + n % 2], rejected="red", confidence=0.0,
                               answer_is_chosen=False, weight=2.0, role="beyond-image", **common)
            )  # fmt: skip
    return made


def reference(records: list[PreferencePair]) -> dict[str, ReferenceLogps]:
    """Made-up reference log-probabilities, so that the gap is not 0 at the start."""
    return {pair.key: ReferenceLogps(key=pair.key, chosen=-8.0 - 0.5 * n, rejected=-9.0 + 0.25 * n) for n, pair in enumerate(records)}


LOSS: dict[str, Any] = {
    "name": "soft", "beta": 0.5, "soft_eps": 0.05, "weight_gamma": 1.0, "margin_alpha": 1.0, "regression_kappa": 2.0,
    "anchor": 0.2, "anchor_normalise": "tokens",
}  # fmt: skip
"""Arguments of `preference_loss`."""


def conversation(question: str, response: str | None = None) -> str:
    """The text of a conversation by the processor's own template."""
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    if response is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
    return str(processor().apply_chat_template(messages, add_generation_prompt=response is None, tokenize=False))


def padded_logps(made: Any, conversations: list[tuple[Image.Image, str, str]]) -> Tensor:
    """[R] summed log-probabilities of (image, question, response), one padded row each: no trees, the image in every row."""
    texts = [conversation(question, response) for _, question, response in conversations]
    prompts = [conversation(question) for _, question, _ in conversations]
    images = [picture for picture, _, _ in conversations]
    encode = processor()
    batch = encode(text=texts, images=images, add_special_tokens=False, padding=True, return_tensors="pt")
    starts = encode(text=prompts, images=images, add_special_tokens=False)["input_ids"]
    logits = made(**batch).logits.log_softmax(-1)
    sums = []
    for row, start in enumerate(starts):
        tokens = int(batch["attention_mask"][row].sum()) - len(start)  # of the response; padding stands on the left
        ids = batch["input_ids"][row, -tokens:]
        sums.append(logits[row, -tokens - 1 : -1].gather(1, ids[:, None]).sum())
    return torch.stack(sums)
