"""A real HTTP server that speaks the OpenAI protocol and misbehaves by plan.

Also a program: `python fake_server.py PORT_FILE LOG_FILE [SECONDS]` answers every judge's prompt after so long and notes each request.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Step = Any
"""`ok` or None, `500`, `429` (asks for `retry_after` seconds), `401`, `400`, `hang`, `broken` (JSON cut short), `reset` (dies in the
middle of the body), `odd` (JSON of another form), or a text to answer with."""


class FakeServer(ThreadingHTTPServer):
    """Follows `plan` request by request, then behaves."""

    daemon_threads = True

    def __init__(self, plan: list[Step], answer: Callable[[dict[str, Any]], Any], *, retry_after: str = "0.2", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.plan, self.answer, self.retry_after = list(plan), answer, retry_after
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.now = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are part of the plan."""


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            step = server.plan.pop(0) if server.plan else "ok"
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            self._follow(step, body)
        finally:
            with server.lock:
                server.now -= 1

    def _follow(self, step: Step, body: dict[str, Any]) -> None:
        if step == "hang":
            self.server.closing.wait(30)
        elif step in (500, 503, 400, 401, 404, 429):
            headers = {"Retry-After": self.server.retry_after} if step == 429 else {}
            self._send(step, json.dumps({"error": {"message": f"planned {step}"}}).encode(), headers)
        elif step == "odd":
            self._send(200, b'{"choices": []}')
        else:
            said = self.server.answer(body) if step in ("ok", None) else step
            choice = said if isinstance(said, dict) else {"message": {"role": "assistant", "content": said}}
            raw = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}).encode()
            if step == "broken":
                self._send(200, raw[:-20])
            elif step == "reset":
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw[:20])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self._send(200, raw)

    def _send(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def serving(*plan: Step, answer: Callable[[dict[str, Any]], Any] | None = None, retry_after: str = "0.2") -> Iterator[FakeServer]:
    """A server on a free port of this machine."""
    server = FakeServer(list(plan), answer or judge, retry_after=retry_after)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def prompt_of(body: dict[str, Any]) -> str:
    """The text of the first message."""
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


def response_in(prompt: str) -> str:
    """The response that a judge's prompt shows."""
    found = re.search(r"\[response (\w+)\]\n(.*)\n\[end \1\]", prompt, re.S)
    assert found
    return found[2]


def judge(body: dict[str, Any]) -> str:
    """A judge of simple tastes: who says "cannot" or "not" refuses, a circle is right, everything is worth 7."""
    prompt = prompt_of(body)
    said = response_in(prompt).lower()
    if "`tag: 1`" in prompt:
        return f"tag: {int('cannot' in said or 'not' in said)}"
    if "`correct: yes`" in prompt:
        return f"correct: {'yes' if 'circle' in said else 'no'}"
    return "score: 7"


def main(port_file: str, log_file: str, seconds: str = "0") -> None:
    """Serve until killed, noting every request before it is answered."""
    log = Path(log_file)

    def answer(body: dict[str, Any]) -> str:
        with log.open("a") as file:
            file.write(json.dumps(prompt_of(body)) + "\n")
        time.sleep(float(seconds))
        return judge(body)

    server = FakeServer([], answer)
    Path(port_file).write_text(server.url)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
