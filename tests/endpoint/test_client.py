"""The client against a real server that misbehaves by plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, serving

from inbol.endpoint.cache import AnswerCache, content_key
from inbol.endpoint.client import Client, Server, key_from
from inbol.endpoint.errors import Rejected, ServerMisconfigured, Spent, Unavailable
from inbol.endpoint.limits import Budget
from inbol.endpoint.reply import Reply, read_reply

ASK = [{"role": "user", "content": "a question"}]
FREE: dict[str, Any] = {"max_requests": 0, "max_cost": 0.0, "input_price": 0.0, "output_price": 0.0}


def hello(body: dict[str, Any]) -> str:
    return "hello"


def run(
    folder: Path, server: FakeServer, work: Callable[[Client], Awaitable[Any]], *, prices: dict[str, Any] | None = None, **settings: Any
) -> tuple[Any, dict[str, Any]]:
    """What `work` returns with a client, and what was spent."""
    where = Server(**{"base_url": server.url, "model": "m", "timeout_s": 0.4, "attempts": 3, "first_wait_s": 0.01, **settings})
    budget = Budget(folder / "requests.jsonl", **(FREE | (prices or {})))

    async def main() -> Any:
        async with Client(where, AnswerCache(folder / "cache"), budget) as client:
            return await work(client)

    try:
        return asyncio.run(main()), budget.summary()
    finally:
        budget.close()


async def one(client: Client) -> str:
    return (await client.ask(ASK, max_tokens=5)).text


@pytest.mark.parametrize("step", [500, 503, 429, "hang", "broken", "reset", "odd"])
def test_a_server_that_fails_once_is_asked_again(tmp_path: Path, step: Any) -> None:
    with serving(step, answer=hello) as server:
        text, spent = run(tmp_path, server, one)
    assert text == "hello" and len(server.bodies) == spent["requests"] == 2
    assert spent["estimated"] == 1  # what the first request cost is not known
    assert server.bodies[0] == server.bodies[1] == {"model": "m", "messages": ASK, "max_tokens": 5}


@pytest.mark.parametrize(
    ("step", "says"), [(500, "HTTP 500"), ("hang", "no answer in time"), ("broken", "unreadable"), ("reset", "Payload")]
)
def test_one_that_always_fails_is_asked_as_often_as_stated(tmp_path: Path, step: Any, says: str) -> None:
    with serving(*[step] * 3, answer=hello) as server:
        with pytest.raises(Unavailable, match=rf"{says}.*3 times"):
            run(tmp_path, server, one)
        assert len(server.bodies) == 3
        assert run(tmp_path, server, one)[0] == "hello"  # a failure is never remembered as an answer


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving() as server:
        pass
    with pytest.raises(Unavailable, match="3 times"):
        run(tmp_path, server, one)


def test_retry_after_is_kept_and_cut(tmp_path: Path) -> None:
    with serving(429, answer=hello, retry_after="0.3") as server:
        run(tmp_path, server, one)
    assert server.times[1] - server.times[0] >= 0.3
    with serving(429, answer=hello, retry_after="Wed, 21 Oct 2099 07:28:00 GMT") as server:
        start = time.monotonic()
        run(tmp_path / "other", server, one, longest_wait_s=0.1)
    assert time.monotonic() - start < 3


def test_a_fault_of_the_configuration_is_said_at_once(tmp_path: Path) -> None:
    with serving(401, answer=hello) as server, pytest.raises(ServerMisconfigured, match=r"HTTP 401.*planned 401.*mend base_url"):
        run(tmp_path, server, one)
    assert len(server.bodies) == 1
    with serving(400, answer=hello) as server, pytest.raises(Rejected, match="HTTP 400"):
        run(tmp_path, server, one)
    assert len(server.bodies) == 1


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    """Not later, not at the same time, not in another process (the folder is shared); other settings and draws are other questions."""

    async def several(client: Client) -> list[str]:
        same = await asyncio.gather(*(client.ask(ASK, max_tokens=5) for _ in range(4)))
        return [reply.text for reply in [*same, await client.ask(ASK, max_tokens=6), await client.ask(ASK, max_tokens=5, nonce="1")]]

    with serving(answer=hello) as server:
        assert run(tmp_path, server, several)[0] == ["hello"] * 6
        assert len(server.bodies) == 3
        run(tmp_path, server, several)
        assert len(server.bodies) == 3
        damaged = next((tmp_path / "cache").glob("*/*.json"))
        damaged.write_text(damaged.read_text()[:10])
        run(tmp_path, server, several)
    assert len(server.bodies) == 4
    assert len({content_key(u, {"model": m}) for u in ("a", "b") for m in ("m", "n")}) == 4


def test_concurrency_is_bounded(tmp_path: Path) -> None:
    async def many(client: Client) -> None:
        await asyncio.gather(*(client.ask(ASK, nonce=str(n), max_tokens=5) for n in range(12)))

    def slowly(body: dict[str, Any]) -> str:
        time.sleep(0.03)
        return "hello"

    with serving(answer=slowly) as server:
        run(tmp_path, server, many, concurrency=3, timeout_s=5.0)
    assert server.most == 3 and len(server.bodies) == 12


def test_the_budget_holds_over_restarts(tmp_path: Path) -> None:
    """Two requests allowed: the third is not sent, neither by this client nor by the next one."""

    async def three(client: Client) -> list[Any]:
        return await asyncio.gather(*(client.ask(ASK, nonce=str(n), max_tokens=5) for n in range(3)), return_exceptions=True)

    with serving(answer=hello) as server:
        replies, spent = run(tmp_path, server, three, prices={"max_requests": 2})
        assert [type(reply) for reply in replies].count(Spent) == 1 and spent["requests"] == 2
        replies, spent = run(tmp_path, server, three, prices={"max_requests": 2})
        assert [type(reply) for reply in replies].count(Spent) == 1 and len(server.bodies) == spent["requests"] == 2


def test_cost_is_bounded_and_counted(tmp_path: Path) -> None:
    """100 tokens asked at 10 a million and 10 answered at 100: 0.002 a request. The estimate of one is (10 // 3 + 16) x 10 + 5 x 100
    millionths = 0.00069, so after four (0.008) another may begin below 0.0087."""
    prices = {"max_cost": 0.0087, "input_price": 10.0, "output_price": 100.0}

    async def six(client: Client) -> list[Any]:
        out: list[Any] = []
        for n in range(6):
            try:
                out.append((await client.ask(ASK, nonce=str(n), max_tokens=5)).text)
            except Spent as error:
                out.append(str(error))
        return out

    with serving(answer=hello) as server:
        replies, spent = run(tmp_path, server, six, prices=prices)
    assert replies[:5] == ["hello"] * 5 and replies[5].startswith("budget: 0.01 of max_cost=0.0087")
    assert spent == {"requests": 5, "cost": 0.01, "estimated": 0, "input_tokens": 500, "output_tokens": 50}


def test_the_key_comes_from_the_environment_alone_and_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerMisconfigured, match="key_env: the environment has no JUDGE_API_KEY"):
        key_from("JUDGE_API_KEY", {})
    with pytest.raises(ServerMisconfigured, match="does not read like a secret"):
        key_from("JUDGE", {"JUDGE": "x"})
    monkeypatch.setenv("JUDGE_API_KEY", "s3cr3t-of-the-judge")
    key = key_from("JUDGE_API_KEY")
    with serving(401, answer=hello) as server, pytest.raises(ServerMisconfigured) as caught:
        run(tmp_path, server, one, key=key)
    assert server.headers[0]["Authorization"] == "Bearer s3cr3t-of-the-judge"
    assert key not in str(caught.value) and key not in repr(Server(base_url="u", model="m", key=key))
    with serving(f"the key is {key}", answer=hello) as server:
        run(tmp_path / "b", server, one)
    assert all(key not in path.read_text() for path in (tmp_path / "b").rglob("*") if path.is_file())


def test_a_reply_is_read_strictly() -> None:
    choice = {"message": {"content": "x"}, "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -1.0}]}}
    assert read_reply({"choices": [choice]}) == Reply(text="x", logprobs=(-0.5, -1.0))
    assert read_reply({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": True}}).used is None
    for wrong in (None, [], {}, {"choices": [{}]}, {"choices": [{"message": {"content": None}}]}, {"choices": [1]}):
        with pytest.raises(ValueError, match="not a chat completion"):
            read_reply(wrong)
    with pytest.raises(ValueError, match="log-probability"):
        read_reply({"choices": [choice | {"logprobs": {"content": [{"logprob": 0.5}]}}]})
