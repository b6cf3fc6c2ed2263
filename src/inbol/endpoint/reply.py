"""A server's answer, read strictly from `chat/completions`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer."""

    text: str
    logprobs: tuple[float, ...] | None = None
    """Nats, one a token; None where the server gave none."""
    used: tuple[int, int] | None = None
    """Tokens asked and answered, by the server's count; None where it gave none."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Reply:
        """The inverse of `to_json`."""
        logprobs, used = raw["logprobs"], raw["used"]
        return cls(
            text=str(raw["text"]),
            logprobs=None if logprobs is None else tuple(map(float, logprobs)),
            used=None if used is None else (int(used[0]), int(used[1])),
        )


def read_reply(raw: Any) -> Reply:
    """The first choice of a response. Raises ValueError for anything else than the protocol's form."""
    try:
        choice = raw["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise TypeError(f"content is {type(text).__name__}")
        return Reply(text=text, logprobs=_logprobs(choice.get("logprobs")), used=_used(raw.get("usage")))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"not a chat completion: {type(error).__name__} {error}") from None


def _logprobs(raw: Any) -> tuple[float, ...] | None:
    content = raw.get("content") if isinstance(raw, dict) else None
    if not isinstance(content, list):
        return None
    found = tuple(float(token["logprob"]) for token in content)
    if any(math.isnan(value) or value > 1e-6 for value in found):
        raise ValueError("a log-probability above 0, or nan")
    return found


def _used(raw: Any) -> tuple[int, int] | None:
    if not isinstance(raw, dict):
        return None
    counts = raw.get("prompt_tokens"), raw.get("completion_tokens")
    return (counts[0], counts[1]) if all(type(count) is int and count >= 0 for count in counts) else None  # type: ignore[return-value]
