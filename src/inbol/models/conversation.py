"""Questions and responses as token ids, by the processor's own chat template."""

from __future__ import annotations

from typing import Any, cast

MARK = "\N{SYMBOL FOR UNIT SEPARATOR}"
"""A response that occurs in no chat template: what a template puts behind a response stands behind it."""


class ConversationEncoder:
    """Turns questions and responses into token ids by the processor's own chat template, each distinct text once.

    The boundary between prompt and response is found by rendering the conversation with and without the response; a template that merges
    tokens across it is refused.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token_id = _image_token_id(processor)
        self.image_token = str(self.tokenizer.convert_ids_to_tokens(self.image_token_id))
        self.eos_token_id = int(self.tokenizer.eos_token_id)
        self.bos = _missing_bos(self.tokenizer)
        self._suffix: dict[tuple[str, bool], list[int]] = {}
        self._response: dict[str, list[int]] = {}

    def render(self, question: str, response: str | None = None, *, image: bool = True) -> str:
        """The conversation as text, ending where the assistant is to speak, or after `response`; with one image placeholder or without."""
        asked: list[dict[str, str]] = [{"type": "image"}] if image else []
        messages: list[dict[str, Any]] = [{"role": "user", "content": [*asked, {"type": "text", "text": question}]}]
        if response is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
        text = str(self.processor.apply_chat_template(messages, add_generation_prompt=response is None, tokenize=False))
        return text if text.startswith(self.bos) else self.bos + text

    def suffix_ids(self, question: str, *, image: bool = True) -> list[int]:
        """Token ids of the prompt after the image's placeholder; of the whole prompt where there is no image."""
        key = question, image
        if key not in self._suffix:
            if self.image_token in question:
                raise ValueError(f"the question {question!r} contains the image placeholder itself; remove it from the data")
            ids = self._ids(self.render(question, image=image))
            if image and self.image_token_id not in ids:
                raise ValueError(f"the chat template renders no image token for {question!r}")
            start = len(ids) - ids[::-1].index(self.image_token_id) if image else 0
            self._suffix[key] = ids[start:]
        return self._suffix[key]

    def response_ids(self, response: str) -> list[int]:
        """Token ids of a response, end-of-sequence included."""
        if response not in self._response:
            before, whole = self.render("?"), self.render("?", response)
            if not whole.startswith(before):  # LLaVA-OneVision's template; what is learnt must follow what is asked when decoding
                whole = before + response + self.render("?", MARK).partition(MARK)[2]
            prompt, full = self._ids(before), self._ids(whole)
            if full[: len(prompt)] != prompt:
                raise ValueError(
                    f"the chat template merges tokens across the start of the response {response!r}; trees need a clean boundary"
                )
            ids = full[len(prompt) :]
            if self.eos_token_id in ids:
                ids = ids[: ids.index(self.eos_token_id)]
            self._response[response] = [*ids, self.eos_token_id]
        return self._response[response]

    def decode(self, ids: list[int]) -> str:
        """Text of generated ids, special tokens removed, stripped."""
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

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
