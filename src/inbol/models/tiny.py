"""The tiny vision-language model: a real `LlavaForConditionalGeneration` of about half a million parameters with its own tokenizer.

It is saved as an ordinary Hugging Face folder, so every line that loads, trains or samples LLaVA-1.5-7B runs on it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from inbol.models.load import attention

BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"

# LLaVA-1.5's conversation. The template emits BOS itself (processors are called without special tokens), and the prompt ends in
# "ASSISTANT:", so that an answer such as " blue" is its own token instead of sharing its first letters with other answers.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{{ '\\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% else %} ASSISTANT: {{ message['content'][0]['text'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


def build_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    pad: str = PAD,
    bos: str | None = BOS,
    eos: str = EOS,
    named: Mapping[str, str] | None = None,
    more: Sequence[str] = (IMAGE,),
) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `texts`; unknown words fall back to bytes, so nothing is out of vocabulary.

    Args:
        texts: to train on.
        vocab_size: special tokens included.
        pad: padding token.
        bos: beginning of a sequence, where there is one.
        eos: end of a response.
        named: further special tokens by the attribute under which the tokenizer gives them; LLaVA's `image_token` if None.
        more: all special tokens beside pad, bos and eos.
    """
    specials = list(dict.fromkeys(token for token in (pad, bos, eos, *more) if token is not None))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=dict({"image_token": IMAGE} if named is None else named),
        padding_side="left",
        model_max_length=2048,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, *, image_size: int, patch_size: int) -> LlavaProcessor:
    """Tokenizer and image processor as one; (image_size / patch_size)^2 image tokens a picture."""
    image_processor = CLIPImageProcessorPil(
        do_resize=True,
        size={"height": image_size, "width": image_size},
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        do_convert_rgb=True,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=patch_size,
        vision_feature_select_strategy="default",  # drops CLS, which num_additional_image_tokens counts
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
    )


def build_config(
    *,
    vocab_size: int,
    image_size: int,
    patch_size: int,
    hidden_size: int,
    vision_layers: int,
    text_layers: int,
    heads: int,
    initializer_range: float = 0.02,
    tokens: dict[str, int] | None = None,
) -> LlavaConfig:
    """The model's configuration. `initializer_range`: standard deviation of the matrices in language model and projector. `tokens`: ids of
    the special tokens, those of `build_tokenizer` by default."""
    ids = tokens or {token: number for number, token in enumerate((PAD, BOS, EOS, IMAGE))}
    vision = CLIPVisionConfig(
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=vision_layers,
        num_attention_heads=heads,
        image_size=image_size,
        patch_size=patch_size,
        projection_dim=hidden_size,
    )
    text = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=text_layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2048,
        initializer_range=initializer_range,
        tie_word_embeddings=True,
        bos_token_id=ids[BOS],
        eos_token_id=ids[EOS],
        pad_token_id=ids[PAD],
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids[IMAGE],
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,  # the default -2 would leave the last layer without a gradient
        tie_word_embeddings=True,
        image_seq_length=(image_size // patch_size) ** 2,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, *, seed: int, **shape: Any) -> LlavaForConditionalGeneration:
    """A randomly initialised LLaVA in fp32, with attention as loading gives it; the same seed gives the same weights. `shape`: see
    `build_config`."""
    torch.manual_seed(seed)
    tokens = {token: tokenizer.convert_tokens_to_ids(token) for token in (PAD, BOS, EOS, IMAGE)}
    model = LlavaForConditionalGeneration(build_config(vocab_size=len(tokenizer), tokens=tokens, **shape))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.set_attn_implementation(attention(model.dtype))
    return model
