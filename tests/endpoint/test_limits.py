"""Rates on a clock of our own, and the ledger of a budget."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inbol.endpoint.limits import Budget, Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def begin(limiter: Limiter, clock: Clock, tokens: list[int]) -> list[float]:
    """When requests of so many tokens may begin, all asked for at once."""

    async def main() -> list[float]:
        return [(await limiter.enter(count)).at for count in tokens]

    return asyncio.run(main())


def limiter(clock: Clock, *, requests: int = 0, tokens: int = 0) -> Limiter:
    return Limiter(requests=requests, tokens=tokens, clock=clock, sleep=clock.sleep)


def test_requests_of_a_minute() -> None:
    """Two a minute: two at 0, two at 60, one at 120."""
    clock = Clock()
    assert begin(limiter(clock, requests=2), clock, [1] * 5) == [0, 0, 60, 60, 120]


def test_tokens_of_a_minute() -> None:
    """100 a minute: 60 + 40 at 0, 70 at 60, 40 does not fit beside them: 120. One of 500 waits for an empty window: 180."""
    clock = Clock()
    assert begin(limiter(clock, tokens=100), clock, [60, 40, 70, 40, 500]) == [0, 0, 60, 120, 180]


def test_a_busy_server_holds_everyone_back() -> None:
    clock = Clock()
    made = limiter(clock)
    assert begin(made, clock, [1]) == [0]
    made.pause(5)
    assert begin(made, clock, [1, 1]) == [5, 5]


def test_a_ledger_that_was_cut_short_counts_every_request(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"sent": 0.5}\n{"used": [100, 10], "estimate": 0.5}\n{"sent": 0.5}\n{"se')
    budget = Budget(path, max_requests=0, max_cost=0, input_price=1e4, output_price=0)
    assert budget.summary() == {"requests": 3, "cost": 1.5, "estimated": 1, "input_tokens": 100, "output_tokens": 10}
    budget.take((0, 0))
    budget.close()
    again = Budget(path, max_requests=0, max_cost=0, input_price=1e4, output_price=0)
    assert again.summary()["requests"] == 4
    again.close()
