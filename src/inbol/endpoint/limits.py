"""How fast and how much a server may be asked."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from inbol.endpoint.errors import Spent
from inbol.shards.files import write_text

WINDOW = 60.0
"""Seconds that the rates are about."""


@dataclass(slots=True)
class Slot:
    """One request in the window."""

    at: float
    tokens: int


class Limiter:
    """Requests and tokens of any 60 s stay below their limits; whoever comes first is served first."""

    def __init__(
        self,
        *,
        requests: int,
        tokens: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests, self.tokens = requests, tokens
        self._clock, self._sleep = clock, sleep
        self._slots: deque[Slot] = deque()
        self._turn = asyncio.Lock()
        self._not_before = 0.0

    async def enter(self, tokens: int) -> Slot:
        """Wait until a request of about so many tokens may begin. One of more tokens than the limit waits for an empty window."""
        async with self._turn:
            while (wait := self._wait(tokens)) > 0:
                await self._sleep(wait)
            slot = Slot(self._clock(), tokens)
            self._slots.append(slot)
            return slot

    def pause(self, seconds: float) -> None:
        """Let nothing begin for so long: the server said that it is busy."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def _wait(self, tokens: int) -> float:
        now = self._clock()
        while self._slots and self._slots[0].at <= now - WINDOW:
            self._slots.popleft()
        if now < self._not_before:
            return self._not_before - now
        full = self.requests and len(self._slots) >= self.requests
        heavy = self.tokens and self._slots and sum(slot.tokens for slot in self._slots) + tokens > self.tokens
        return self._slots[0].at + WINDOW - now if full or heavy else 0.0


class Budget:
    """What the requests of one stage may cost, over all processes that worked on it: every request is noted in a file before it is sent.

    A request that never ended, or whose answer names no tokens, counts with its estimate.
    """

    def __init__(self, ledger: Path, *, max_requests: int, max_cost: float, input_price: float, output_price: float) -> None:
        self.max_requests, self.max_cost = max_requests, max_cost
        self.prices = (input_price / 1e6, output_price / 1e6)
        self.requests, self.cost, self.estimated = 0, 0.0, 0
        self.input_tokens, self.output_tokens = 0, 0
        ledger.parent.mkdir(parents=True, exist_ok=True)
        if ledger.exists():
            text = ledger.read_text(encoding="utf-8")
            for line in text.splitlines():
                self._read(line)
            if text and not text.endswith("\n"):
                write_text(ledger, text + "\n")
        self._file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def take(self, estimate: tuple[int, int]) -> float:
        """Note a request of about (asked, answered) tokens and return its estimated cost. Raises Spent when it would be too much."""
        cost = self._price(*estimate)
        if self.max_requests and self.requests >= self.max_requests:
            raise Spent(f"budget: max_requests={self.max_requests} requests are sent")
        if self.max_cost and self.cost + cost > self.max_cost:
            raise Spent(f"budget: {self.cost:.6g} of max_cost={self.max_cost:.6g} is spent, the next request may cost {cost:.6g}")
        self._note({"sent": cost})
        return cost

    def settle(self, cost: float, used: tuple[int, int] | None) -> None:
        """Put what a request really used in place of its estimate."""
        if used is not None:
            self._note({"used": list(used), "estimate": cost})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def summary(self) -> dict[str, float | int]:
        """What was sent and what it cost; `estimated` requests named no tokens or never ended."""
        tokens = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return {"requests": self.requests, "cost": round(self.cost, 9), "estimated": self.estimated, **tokens}

    def _price(self, asked: int, answered: int) -> float:
        return asked * self.prices[0] + answered * self.prices[1]

    def _note(self, entry: dict[str, object]) -> None:
        line = json.dumps(entry)
        os.write(self._file, (line + "\n").encode())  # one write: a kill leaves a whole line or none
        self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            if "sent" in entry:
                self.requests, self.cost, self.estimated = self.requests + 1, self.cost + float(entry["sent"]), self.estimated + 1
            else:
                asked, answered = map(int, entry["used"])
                self.cost += self._price(asked, answered) - float(entry["estimate"])
                self.estimated -= 1
                self.input_tokens, self.output_tokens = self.input_tokens + asked, self.output_tokens + answered
        except (ValueError, KeyError, TypeError):  # a line that the machine's end cut short; its request counts
            self.requests += 1
