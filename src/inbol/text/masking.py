"""Keeps secrets out of what is written: configurations, manifests, logs and trackers."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import IO, Any

MASK = "***"
_WORDS = {"token", "secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "apikey", "signature"}
_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key"), ("auth", "key")}
_LOGIN = re.compile(r"://[^/@\s]+@")
_SIGNED = re.compile(
    r"[?&](?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-Signature|Signature|sig|(?:access_)?token)=[^&\s]+", re.I
)
SHORTEST = 8
"""A value of the environment that is shorter is no secret: it would hide ordinary words."""


def masked(config: Any) -> Any:
    """A copy of `config` that is safe to write, made of JSON types alone.

    A value whose key reads like a secret (`hf_token`, `api_key`, `wandb.password`; any case, any separator) becomes `***`, as do the login
    and the signature in a URL, and every value of an environment variable whose name reads like one. Numbers, booleans and None stay
    (`pad_token_id: 0`, `num_tokens: 12`): no token is a number. Paths become strings.
    """
    if isinstance(config, Mapping):
        return {str(key): _hide(value) if looks_secret(str(key)) else masked(value) for key, value in config.items()}
    if isinstance(config, (list, tuple, set, frozenset)):
        return [masked(value) for value in config]
    if config is None or isinstance(config, (bool, int, float)):
        return config
    return mask_text(str(config))


def mask_text(text: str) -> str:
    """The text without logins and signatures in URLs, and without the environment's secrets."""
    for value in environment_secrets():
        text = text.replace(value, MASK)
    text = _LOGIN.sub(f"://{MASK}@", text)
    return _SIGNED.sub(lambda match: match[0].partition("=")[0] + f"={MASK}", text)


def credentials_in(config: Any, path: str = "") -> list[str]:
    """Paths of the values of a configuration that hold a credential: what must come from the environment instead.

    These are the values that `masked` would change: below a key that reads like a secret's, or in what they say.
    """
    if isinstance(config, Mapping):
        found = []
        for key, value in config.items():
            below = f"{path}.{key}".lstrip(".")
            found += [below] if looks_secret(str(key)) and _hide(value) != value else credentials_in(value, below)
        return found
    if isinstance(config, (list, tuple)):
        return [found for number, value in enumerate(config) for found in credentials_in(value, f"{path}[{number}]")]
    return [path] if isinstance(config, str) and mask_text(config) != config else []


def looks_secret(name: str) -> bool:
    """Whether a key or the name of a variable reads like a secret's."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    return any(word in _WORDS for word in words) or any(pair in _PAIRS for pair in itertools.pairwise(words))


def environment_secrets() -> tuple[str, ...]:
    """Values of the environment variables whose names read like secrets, the longest first."""
    return _secrets(tuple(os.environ.items()))


@lru_cache(maxsize=4)
def _secrets(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found = {value for name, value in environment if looks_secret(name) and len(value) >= SHORTEST}
    named = {value for value in found if not value.isdigit() and not value.startswith("/")}  # a path to a secret is none
    return tuple(sorted(named, key=lambda value: (-len(value), value)))


class MaskingStream:
    """A text stream that hides the environment's secrets, line by line; everything else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`, masked; returns the number of characters that were given."""
        self._stream.write(mask_text(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every line, masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)


def _hide(value: Any) -> Any:
    """Everything below a secret-looking key is hidden, except numbers, booleans, None and empty values."""
    if isinstance(value, Mapping):
        return {str(key): _hide(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hide(inner) for inner in value]
    return value if value is None or value == "" or isinstance(value, (bool, int, float)) else MASK
