"""What is measured: shapes, the model, and the records both sides are given. The one place where sizes are written.

The model is a real LLaVA with random weights. As in LLaVA-1.5 the tower and the output head are small beside the language model,
and a picture of 336 pixels is 576 tokens; width and depth are what a CPU takes a second or two a step for.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from inbol.contracts import PreferencePair, SftExample
from inbol.models.load import freeze_vision_tower
from inbol.models.tiny import IMAGE, build_processor, build_tokenizer
from inbol.models.tree import ConversationEncoder
from inbol.sources.images import decode_image

PATCH = 14
WORDS = tuple(first + second for first in "bcdfghjklmnprstvwz" for second in ("a", "e", "i", "o", "u"))
"""Words of one token each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of one benchmark."""

    image_tokens: int
    """A square number; the picture has `PATCH` pixels a patch."""
    prompt: tuple[int, int]
    """Fewest and most tokens after the image up to the response, the template's included; uniform."""
    response: tuple[int, int]
    """Fewest and most tokens of a response, end-of-sequence included; log-uniform, so that short answers outnumber long refusals."""
    questions: int
    """Per image."""
    step: int
    """Images per optimiser step."""

    @property
    def mixed(self) -> bool:
        """Whether lengths differ."""
        return self.prompt[0] < self.prompt[1] or self.response[0] < self.response[1]

    @property
    def side(self) -> int:
        """Patches a side."""
        return int(self.image_tokens**0.5)


LARGE = Shape(image_tokens=576, prompt=(40, 40), response=(12, 12), questions=1, step=5)
SMALL = Shape(image_tokens=64, prompt=(20, 20), response=(6, 6), questions=1, step=20)
SHAPES = {
    "1q-576": LARGE,
    "5q-576": replace(LARGE, questions=5, step=1),
    "1q-64": SMALL,
    "5q-64": replace(SMALL, questions=5, step=4),
    "mixed-576": replace(LARGE, prompt=(16, 96), response=(2, 64), step=8),
    "mixed-64": replace(SMALL, prompt=(10, 60), response=(2, 64), step=24),
}
"""One or five questions; `mixed`: one question, lengths drawn."""

WIDTH, LAYERS, TOWER_WIDTH, TOWER_LAYERS, HEADS = 256, 4, 64, 4, 4


@dataclass(frozen=True)
class World:
    """A shape's data and models; everything follows from the shape and the seed."""

    shape: Shape
    images: int
    seed: int = 0

    @cached_property
    def processor(self) -> Any:
        """Tokenizer and image processor."""
        texts = ["USER: ASSISTANT:", *(f"\n{word} {word} {word}" for word in WORDS)]
        return build_processor(build_tokenizer(texts * 20, 512), image_size=PATCH * self.shape.side, patch_size=PATCH)

    @cached_property
    def pictures(self) -> list[bytes]:
        """PNG files, smooth as photographs are."""
        draw, found = random.Random(self.seed), []
        for _ in range(self.images):
            small = Image.frombytes("RGB", (6, 6), bytes(draw.randrange(256) for _ in range(108)))
            file = io.BytesIO()
            small.resize((PATCH * self.shape.side,) * 2, Image.Resampling.BICUBIC).save(file, "PNG")
            found.append(file.getvalue())
        return found

    def load_image(self, key: str) -> Image.Image:
        """The decoded picture, as the stages decode theirs."""
        return decode_image(self.pictures[int(key)])

    @cached_property
    def pairs(self) -> list[PreferencePair]:
        """`shape.questions` pairs an image, image by image."""
        prompt, response = self._texts(random.Random(self.seed + 1))
        return [
            PreferencePair(
                key=f"{image}-q{q}-p0",
                image_key=str(image),
                prompt=prompt(),
                chosen=response(),
                rejected=response(),
                confidence=0.75,
                answer_is_chosen=True,
            )
            for image in range(self.images)
            for q in range(self.shape.questions)
        ]

    @cached_property
    def examples(self) -> list[SftExample]:
        """The chosen side of every pair."""
        return [
            SftExample(key=p.key, image_key=p.image_key, prompt=p.prompt, target=p.chosen, weight=1.0, role="answer") for p in self.pairs
        ]

    def _texts(self, draw: random.Random) -> tuple[Callable[[], str], Callable[[], str]]:
        """Makers of questions and responses that are exactly as long as drawn, in tokens."""
        encoder = ConversationEncoder(self.processor)
        around_prompt = len(encoder.suffix_ids(WORDS[0])) - 1
        around_response = len(encoder.response_ids(WORDS[0])) - 1

        def words(number: int) -> str:
            return " ".join(draw.choices(WORDS, k=number))

        def prompt() -> str:
            tokens = draw.randint(*self.shape.prompt)
            text = words(tokens - around_prompt)
            assert len(encoder.suffix_ids(text)) == tokens
            return text

        def response() -> str:
            fewest, most = self.shape.response
            tokens = min(most, int(fewest * ((most + 1) / fewest) ** draw.random()))
            text = words(tokens - around_response)
            assert len(encoder.response_ids(text)) == tokens
            return text

        return prompt, response

    def model(self, seed: int) -> Any:
        """A freshly initialised LLaVA in fp32 with a frozen tower; the same seed gives the same weights."""
        torch.manual_seed(seed)
        tokenizer = self.processor.tokenizer
        vision = CLIPVisionConfig(
            hidden_size=TOWER_WIDTH,
            intermediate_size=4 * TOWER_WIDTH,
            num_hidden_layers=TOWER_LAYERS,
            num_attention_heads=HEADS,
            image_size=PATCH * self.shape.side,
            patch_size=PATCH,
        )
        text = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=11 * WIDTH // 4,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=4096,
            initializer_range=0.06,  # wide enough that two seeds disagree by whole nats
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=vision,
                text_config=text,
                image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
                image_seq_length=self.shape.image_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        freeze_vision_tower(model)
        return model.eval()
