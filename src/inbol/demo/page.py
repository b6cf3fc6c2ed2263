"""The page: Gradio widgets around `ask` and `show`, and the server that hands it to this machine alone.

Nothing leaves the machine: no analytics, no sharing link, no font or script from elsewhere, and a policy that forbids the browser to fetch
any. Uploaded bytes are opened by `sources/images.py` alone, never by Gradio, whose own image widget would open them with any decoder.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from inbol.contracts import Question
from inbol.demo.ask import MAX_QUESTION, System, ask
from inbol.demo.examples import Example
from inbol.demo.show import choice, picture, problem, reply
from inbol.sources.images import decode_image

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'self'"
)
"""Content-Security-Policy of every response; Gradio's own scripts need inline and eval, and nothing needs another host."""
MAX_UPLOAD = "64mb"
FORMATS = [".png", ".jpg", ".jpeg", ".webp"]
THUMBNAIL = 256
_BLANK = '<div class="picture blank">pick an example, or upload an image</div>'


@dataclass(frozen=True, slots=True)
class Shown:
    """The image on the page."""

    image: bytes
    questions: tuple[Question, ...] = ()


class Page:
    """What the widgets call; holds nothing of a visitor."""

    def __init__(self, systems: Sequence[System], examples: Sequence[Example]) -> None:
        self.systems, self.examples = systems, examples

    def pick(self, number: int) -> tuple[Shown, str, dict[str, Any], str, str]:
        """An example: (what is shown, its picture, its questions, no question yet, no reply yet)."""
        example = self.examples[number]
        return self._show(Shown(example.image, example.questions))

    def upload(self, data: bytes) -> tuple[Any, Any, Any, Any, str]:
        """An own image; where it is none, everything stays, and the reply says why."""
        try:
            return self._show(Shown(data))
        except ValueError as error:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), problem(error)

    def choose(self, key: str | None, shown: Shown | None) -> str:
        """The text of a question that was picked."""
        found = [question.text for question in shown.questions if question.key == key] if shown else []
        return found[0] if found else ""

    def ask(self, question: str, shown: Shown | None) -> str:
        """The responses as HTML, or what is wrong with the question."""
        if shown is None:
            return problem("pick an example or upload an image first")
        known = next((known for known in shown.questions if known.text == question.strip()), None)
        try:
            return reply(ask(self.systems, decode_image(shown.image), question, known), known)
        except ValueError as error:
            return problem(error)

    def _show(self, shown: Shown) -> tuple[Shown, str, dict[str, Any], str, str]:
        html = picture(decode_image(shown.image), alt="the image that is asked about")
        return shown, html, self.questions(shown.questions), "", ""

    @staticmethod
    def questions(questions: Sequence[Question]) -> dict[str, Any]:
        """The list of questions; hidden where there are none."""
        update: dict[str, Any] = gr.update(choices=[(choice(q), q.key) for q in questions], value=None, visible=bool(questions))
        return update


def build(page: Page, *, title: str, facts: str) -> gr.Blocks:
    """The widgets.

    Args:
        page: what they call.
        title: heading.
        facts: HTML below it, escaped already.
    """
    shown, image, _, _, _ = page.pick(0) if page.examples else (None, _BLANK, None, "", "")
    questions = shown.questions if shown else ()
    with gr.Blocks(title=title, analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>{title}</h1><p>{facts}</p>", elem_id="head", apply_default_css=False)
        state = gr.State(shown)
        gallery = gr.Gallery(
            [_thumbnail(example) for example in page.examples], label="Images of the test split", columns=max(len(page.examples), 1),
            height="auto", object_fit="contain", allow_preview=False, interactive=False, buttons=[], elem_id="examples", format="png",
            visible=bool(page.examples), show_label=False, container=False,
        )  # fmt: skip
        if page.examples:
            gr.HTML('<p class="caption">images of the test split, the least degraded first</p>', apply_default_css=False, elem_id="caption")
        with gr.Row():
            with gr.Column(scale=4, min_width=280):
                view = gr.HTML(image, elem_id="view", apply_default_css=False)
                upload = gr.UploadButton(
                    "Upload an image (PNG, JPEG, WebP)", file_types=FORMATS, type="binary", size="sm", elem_id="upload"
                )
            with gr.Column(scale=7, min_width=360):
                listed = gr.Radio(
                    [(choice(q), q.key) for q in questions], label="Some questions about it", elem_id="questions", visible=bool(questions)
                )
                with gr.Row(equal_height=True):
                    box = gr.Textbox(
                        placeholder="Ask anything about the image", max_length=MAX_QUESTION, elem_id="question", show_label=False,
                        container=False, scale=8, label="Question",
                    )  # fmt: skip
                    button = gr.Button("Ask", variant="primary", elem_id="ask", scale=1, min_width=90)
        said = gr.HTML("", elem_id="said", apply_default_css=False)
        screen = [state, view, listed, box, said]
        private: dict[str, Any] = {"api_visibility": "private"}

        def pick(event: gr.SelectData) -> Any:
            return page.pick(int(event.index))

        gallery.select(pick, None, screen, **private)
        upload.upload(page.upload, [upload], screen, **private)
        listed.input(page.choose, [listed, state], [box], **private)
        gr.on([button.click, box.submit], page.ask, [box, state], [said], **private)
    return blocks


def application(blocks: gr.Blocks, host: str) -> FastAPI:
    """The page as an application: answers only to this machine's own names where `host` is a loopback address."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    if is_loopback(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", host])

    @app.middleware("http")
    async def forbid_other_hosts(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    theme = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    mounted: FastAPI = gr.mount_gradio_app(
        app, blocks, path="/", theme=theme, css=css, footer_links=[], run_history=False, show_error=False, max_file_size=MAX_UPLOAD,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    return mounted


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def quiet_environment(folder: str) -> None:
    """No analytics, no sharing, and Gradio's temporary files in `folder`; to be set before any widget is made."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_SHARE="False", GRADIO_TEMP_DIR=folder, HF_HUB_DISABLE_TELEMETRY="1")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; to be had before models are loaded. Raises ValueError where it cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        where = f"host, port: {host}:{port} cannot be served ({error.strerror or error})"
        raise ValueError(f'{where}; take another port, or a free one: ARGS="port=0"') from None


def serve(page: Page, listening: socket.socket, *, title: str, facts: str, host: str, ready: Callable[[str], None]) -> None:
    """Serve the page until interrupted; what was uploaded is removed then.

    Args:
        page: what is asked.
        listening: from `bound`.
        title: heading.
        facts: HTML below it, escaped already.
        host: what `listening` is bound to.
        ready: called with the page's address once it can be opened.
    """
    with TemporaryDirectory(prefix="inbol-demo-") as folder:
        quiet_environment(folder)
        app = application(build(page, title=title, facts=facts), host)
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{listening.getsockname()[1]}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


def _thumbnail(example: Example) -> Any:
    image = decode_image(example.image)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return image
