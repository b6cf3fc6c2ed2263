"""A client of `chat/completions` that waits its turn, tries again, counts its cost and asks nothing twice."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import aiohttp

from inbol.endpoint.cache import AnswerCache, content_key
from inbol.endpoint.errors import Rejected, ServerMisconfigured, Unavailable, Unsent
from inbol.endpoint.limits import Budget, Limiter
from inbol.endpoint.reply import Reply, read_reply
from inbol.text.masking import looks_secret, mask_text

LARGEST = 16 * 2**20
"""Bytes of the longest response that is read."""
IMAGE_TOKENS = 1000
"""Estimate for a picture; the server's own count takes its place."""
BUSY = 429
REJECTED = (400, 413, 415, 422)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to ask, and how often; as `inbol.config.serving.ServerConfig`."""

    base_url: str
    model: str
    key: str = field(default="", repr=False)
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrency: int = 4
    timeout_s: float = 120.0
    attempts: int = 5
    longest_wait_s: float = 60.0
    first_wait_s: float = 1.0


def key_from(variable: str, environment: Mapping[str, str] = os.environ) -> str:
    """The key in an environment variable; empty where none is named.

    Raises:
        ServerMisconfigured: the variable is not set, or its name does not read like a secret's, so that its value would not be masked.
    """
    if not variable:
        return ""
    if not looks_secret(variable):
        raise ServerMisconfigured(f"key_env: {variable!r} does not read like a secret and would not be masked; name it ..._API_KEY")
    if not environment.get(variable):
        raise ServerMisconfigured(f"key_env: the environment has no {variable}; export it, or set key_env to '' for a server without a key")
    return environment[variable]


class Client:
    """Open it with `async with`."""

    def __init__(self, server: Server, cache: AnswerCache, budget: Budget) -> None:
        self.server, self.cache, self.budget = server, cache, budget
        self.limiter = Limiter(requests=server.requests_per_minute, tokens=server.tokens_per_minute)
        self.cached = 0
        self._gate = asyncio.Semaphore(server.concurrency)
        self._under_way: dict[str, asyncio.Future[Reply]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        headers = {"Authorization": f"Bearer {self.server.key}"} if self.server.key else {}
        limit = aiohttp.ClientTimeout(total=self.server.timeout_s)
        self._session = aiohttp.ClientSession(headers=headers, timeout=limit, trust_env=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(
        self, messages: list[dict[str, Any]], *, nonce: str = "", may_send: Callable[[], str] = lambda: "", **settings: Any
    ) -> Reply:
        """The answer to `messages`, from the cache where it was ever given.

        Args:
            messages: in the protocol's form.
            nonce: tells draws of the same request apart.
            may_send: asked before every request; a reason to send none, which the cache answers nevertheless.
            settings: further fields of the request; `max_tokens` bounds its cost.

        Raises:
            Unanswered: no answer, for this question's or this moment's reasons.
            ServerMisconfigured: no question can be answered.
        """
        body = {"model": self.server.model, "messages": messages, **settings}
        key = content_key(self.server.base_url, body, nonce)
        if (known := self.cache.get(key)) is not None:
            self.cached += 1
            return known
        if (same := self._under_way.get(key)) is not None:
            return await same
        future = self._under_way[key] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard, also where nobody else waits
        try:
            reply = await self._persist(body, may_send)
            reply = replace(reply, text=mask_text(reply.text))  # a server that echoes its key
            self.cache.put(key, reply)
            future.set_result(reply)
            return reply
        except BaseException as error:
            future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            raise
        finally:
            del self._under_way[key]

    async def _persist(self, body: dict[str, Any], may_send: Callable[[], str]) -> Reply:
        """Send until there is an answer."""
        estimate = _estimate(body)
        problem = ""
        for attempt in range(self.server.attempts):
            async with self._gate:
                slot = await self.limiter.enter(sum(estimate))
                if reason := may_send():
                    raise Unsent(reason)
                cost = self.budget.take(estimate)
                try:
                    status, reply, problem, after = await self._send(body)
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    status, reply, after = 0, None, None
                    problem = f"{type(error).__name__} {error}".strip() if not isinstance(error, TimeoutError) else "no answer in time"
                if reply is not None:
                    self.budget.settle(cost, reply.used)
                    slot.tokens = sum(reply.used) if reply.used else slot.tokens
                    return reply
                self._check(status, problem)
            if attempt + 1 < self.server.attempts:
                await self._wait(attempt, after, busy=status == BUSY)
        raise Unavailable(mask_text(f"server: {problem}, {self.server.attempts} times"))

    async def _send(self, body: dict[str, Any]) -> tuple[int, Reply | None, str, float | None]:
        """(status, answer, problem, seconds to wait that the server named)."""
        assert self._session is not None
        url = self.server.base_url.rstrip("/") + "/chat/completions"
        async with self._session.post(url, json=body, allow_redirects=False) as response:
            raw = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                raw += chunk
                if len(raw) > LARGEST:
                    return response.status, None, f"a response of more than {LARGEST} bytes", None
            if response.status == 200:
                try:
                    return 200, read_reply(json.loads(raw)), "", None
                except ValueError as error:
                    return 200, None, f"unreadable response: {error}", None
            said = " ".join(raw[:300].decode(errors="replace").split())
            return response.status, None, f"HTTP {response.status} {said}".strip(), _seconds(response.headers.get("Retry-After"))

    def _check(self, status: int, problem: str) -> None:
        problem = mask_text(problem)
        if status in REJECTED:
            raise Rejected(f"server: {problem}")
        if 300 <= status < 500 and status not in (408, 409, 425, BUSY):
            where = f"{self.server.base_url}, model {self.server.model!r}"
            raise ServerMisconfigured(mask_text(f"{where}: {problem}; mend base_url, model or the key that key_env names"))

    async def _wait(self, attempt: int, after: float | None, *, busy: bool) -> None:
        wait = self.server.first_wait_s * 2.0**attempt * random.uniform(0.75, 1.25)
        wait = min(max(wait, after or 0.0), self.server.longest_wait_s)
        if busy:
            self.limiter.pause(wait)
        await asyncio.sleep(wait)


def _estimate(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens asked and answered, rather too many: three characters a token, and the longest answer."""
    letters = pictures = 0
    for message in body["messages"]:
        parts = [{"type": "text", "text": message["content"]}] if isinstance(message["content"], str) else message["content"]
        letters += sum(len(part.get("text", "")) for part in parts)
        pictures += sum(part["type"] == "image_url" for part in parts)
    return letters // 3 + 16 + IMAGE_TOKENS * pictures, int(body.get("max_tokens", 1024))


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds: a number or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
