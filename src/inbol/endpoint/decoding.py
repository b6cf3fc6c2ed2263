"""Responses of a model behind an OpenAI-compatible server, with what the records of `sample` and `predict` need."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from inbol.endpoint.cache import AnswerCache
from inbol.endpoint.client import Client, Server
from inbol.endpoint.errors import Rejected, Unanswered
from inbol.endpoint.limits import Budget
from inbol.endpoint.reply import Reply

LOST = (
    "the sequence probability, which a record of `sample` or `predict` holds, the row `threshold` refuses by and the confidences "
    "`logprob` and sequence probability are made of"
)


class MissingLogprobs(ValueError):
    """A server or engine gives no log-probabilities; nothing is put in their place."""

    def __init__(self, who: str, why: str = "") -> None:
        super().__init__(
            f"{who} gives no log-probabilities{f' ({why})' if why else ''}; without them {LOST} cannot be computed. Take a server that "
            "gives them (logprobs=true of the protocol), or backend=tree"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """K responses to one question."""

    texts: tuple[str, ...]
    logprobs: tuple[float, ...]
    """Nats, summed over the response tokens."""
    num_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question about at most one picture."""

    key: str
    prompt: str
    image: Image.Image | None


def messages_of(ask: Ask) -> list[dict[str, Any]]:
    """The question in the protocol's form, its picture as PNG in a data URL."""
    text: dict[str, Any] = {"type": "text", "text": ask.prompt}
    if ask.image is None:
        return [{"role": "user", "content": [text]}]
    buffer = io.BytesIO()
    ask.image.save(buffer, format="PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, text]}]


def draw_seed(seed: int, key: str, draw: int) -> int:
    """A seed in [0, 2^31) that belongs to this draw of this question alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}/{draw}".encode()).digest()[:4], "little") >> 1


class ServerDecoder:
    """A served checkpoint. Everything that was answered is kept, so that a stage that ended early asks only for the rest."""

    def __init__(self, server: Server, *, cache: Path, ledger: Path, identity: str) -> None:
        """`identity` names the checkpoint and the stage in the cache: a server may serve another under the same name later."""
        self.server, self.identity, self.cache = server, identity, cache
        self._runner = asyncio.Runner()
        self._budget = Budget(ledger, max_requests=0, max_cost=0.0, input_price=0.0, output_price=0.0)
        self._client = Client(server, AnswerCache(cache), self._budget)
        self._begun = asyncio.Semaphore(2 * server.concurrency)
        self._open = False

    def close(self) -> None:
        """End the connection."""
        self._hang_up()
        self._budget.close()

    def _hang_up(self) -> None:
        if self._open:
            self._runner.run(self._client.__aexit__(None, None, None))
            self._open = False
        self._runner.close()

    def draw(
        self, asks: Sequence[Ask], *, draws: int, max_new_tokens: int, temperature: float, top_p: float, seed: int, logprobs: bool = True
    ) -> list[Drawn]:
        """`draws` responses to every question, in its order; temperature 0 is greedy.

        Raises:
            MissingLogprobs: the server gives none, unless `logprobs` is off; the records' logprobs are then empty.
            RuntimeError: a question got no answer.
            ServerMisconfigured: no question can be answered.
        """
        settings = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p} | ({"logprobs": True} if logprobs else {})

        async def all_() -> list[list[Reply]]:
            if not self._open:
                await self._client.__aenter__()
                self._open = True
            async with asyncio.TaskGroup() as group:
                tasks = [[group.create_task(self._one(ask, n, seed, settings)) for n in range(draws)] for ask in asks]
            return [[task.result() for task in mine] for mine in tasks]

        try:
            return [self._drawn(mine, logprobs) for mine in self._runner.run(all_())]
        except BaseExceptionGroup as several:
            self._hang_up()
            raise several.exceptions[0] from None
        except BaseException:
            self._hang_up()
            raise

    async def _one(self, ask: Ask, draw: int, seed: int, settings: dict[str, Any]) -> Reply:
        nonce = f"{self.identity}/{ask.key}/{draw}"
        try:
            async with self._begun:  # or the encoded pictures of all draws would be held at once
                return await self._client.ask(messages_of(ask), nonce=nonce, seed=draw_seed(seed, ask.key, draw), **settings)
        except Rejected as error:
            if "logprobs" in settings and "logprobs" in str(error):
                raise MissingLogprobs(self.server.base_url, str(error)) from None
            raise self._lost(ask, error) from None
        except Unanswered as error:
            raise self._lost(ask, error) from None

    def _lost(self, ask: Ask, error: Unanswered) -> RuntimeError:
        return RuntimeError(f"{ask.key}: {error}. What was answered is kept in {self.cache}; run again to ask for the rest")

    def _drawn(self, replies: list[Reply], logprobs: bool) -> Drawn:
        given = [reply.logprobs or () for reply in replies]
        if logprobs and any(reply.logprobs is None or (reply.text and not reply.logprobs) for reply in replies):
            raise MissingLogprobs(f"{self.server.base_url}, model {self.server.model!r},")
        return Drawn(
            texts=tuple(reply.text.strip() for reply in replies),
            logprobs=tuple(sum(values) for values in given) if logprobs else (),
            num_tokens=tuple(len(values) for values in given) if logprobs else (),
        )
