"""A judge at work: many questions at once, each answered, or recorded as unjudged with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from inbol.contracts import Outcome
from inbol.endpoint.client import Client
from inbol.endpoint.errors import Spent, Unanswered, Unavailable
from inbol.judging.prompts import SHOWN, Material, judge_prompt, reminder
from inbol.judging.reading import read_verdict

GIVE_UP_AFTER = 8
"""Questions in a row for which the server was not available; the others are then not asked any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge found about one response: one line of `verdicts.jsonl`."""

    key: str
    image_key: str
    dimension: str
    value: int | None
    """0 or 1, for a score 1 to 10; None where it is unjudged."""
    unjudged: str = ""
    """Why there is no value: `unreadable`, `server: ...` or `budget: ...`."""


def outcome_of(refusal: Verdict | None, correctness: Verdict | None, *, answerable: bool) -> Outcome | None:
    """What verdicts make a response: REFUSED by its tag, else CORRECT or WRONG; beyond the image WRONG. None where they leave it open."""
    if refusal is None or refusal.value is None:
        return None
    if refusal.value == 1:
        return Outcome.REFUSED
    if not answerable:
        return Outcome.WRONG
    if correctness is None or correctness.value is None:
        return None
    return Outcome.CORRECT if correctness.value == 1 else Outcome.WRONG


class Judge:
    """Judges with one client; remembers whether the server still answers."""

    def __init__(self, client: Client, *, max_tokens: int, rereads: int, report: Callable[[], None] = lambda: None) -> None:
        self.client, self.max_tokens, self.rereads, self.report = client, max_tokens, rereads, report
        self._failed = 0
        self._enough = ""

    async def verdicts(self, dimension: str, materials: Sequence[Material]) -> list[Verdict]:
        """A verdict on each, in their order; a fault of the configuration or a request to stop ends all of them."""
        tasks = [asyncio.ensure_future(self.verdict(dimension, one)) for one in materials]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def verdict(self, dimension: str, material: Material) -> Verdict:
        """One verdict. An answer that cannot be read is shown to the judge again with what was asked for."""
        messages: list[dict[str, Any]] = [{"role": "user", "content": _content(dimension, material)}]
        value, unjudged = None, f"unreadable, {self.rereads + 1} times"
        try:
            for _ in range(self.rereads + 1):
                text = await self._ask(messages)
                if (value := read_verdict(dimension, text)) is not None:
                    unjudged = ""
                    break
                messages = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": reminder(dimension)}]
        except Unanswered as error:
            unjudged = str(error)
        self.report()
        return Verdict(key=material.key, image_key=material.image_key, dimension=dimension, value=value, unjudged=unjudged)

    async def _ask(self, messages: list[dict[str, Any]]) -> str:
        try:
            reply = await self.client.ask(messages, may_send=lambda: self._enough, max_tokens=self.max_tokens, temperature=0.0)
        except Unavailable as error:
            self._failed += 1
            if self._failed >= GIVE_UP_AFTER:
                self._enough = f"server: given up after {self._failed} questions in a row without an answer ({error})"
            raise
        except Spent as error:
            self._enough = self._enough or str(error)
            raise
        self._failed = 0
        return reply.text


def _content(dimension: str, material: Material) -> str | list[dict[str, Any]]:
    prompt = judge_prompt(dimension, material)
    if dimension not in SHOWN or not material.images:
        return prompt
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in material.images]
    return [*shown, {"type": "text", "text": prompt}]
