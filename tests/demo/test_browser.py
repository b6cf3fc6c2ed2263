"""The page in a real browser: an example is picked, asked and read; nothing is fetched from elsewhere, and nothing that is typed is run."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import toy
from PIL import Image

from inbol.contracts import Question
from inbol.demo.ask import System, ask
from tests.demo.world import RUN, finished, number

pytest.importorskip("gradio", reason="Gradio is not installed; make test installs it")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it")

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = [pytest.mark.heavy, pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "runs"
    finished(folder)
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """`python -m launch demo` as a person starts it, on a free port; ended by Ctrl-C."""
    command = [sys.executable, "-u", "-m", "launch", "demo", "--checkpoint", RUN, "--", f"runs_dir={runs}", "port=0"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "TMPDIR": str(runs.parent)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if found := re.match(r"(http://127\.0\.0\.1:\d+)  \(Ctrl-C ends it\)", line):
                break
        else:
            pytest.fail("".join(lines))
        yield found[1]
        server.send_signal(signal.SIGINT)
        assert "the page is closed" in server.stdout.read()
    assert server.returncode == 0
    assert not list(runs.parent.glob("inbol-demo-*")), "uploads were left behind"


class Tab:
    """A page, and what it asked the network for."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.requests, self.problems = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        page.wait_for_selector("#questions label")

    def ask(self, question: str = "") -> Any:
        """Press the button and wait for other replies than are there."""
        if question:
            self.page.locator("#question textarea, #question input").first.fill(question)
        self.page.evaluate("document.querySelector('#said .replies, #said .problem')?.setAttribute('data-old', '')")
        self.page.locator("#ask").click()
        self.page.wait_for_selector("#said .replies:not([data-old]), #said .problem:not([data-old])")
        return self.page.locator("#said")


@pytest.fixture
def tab(address: str) -> Iterator[Tab]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = Tab(browser.new_page(viewport={"width": 1160, "height": 900}), address)
        yield opened
        assert opened.problems == []
        assert {urlparse(url).netloc for url in opened.requests if not url.startswith(("data:", "blob:"))} == {urlparse(address).netloc}
        browser.close()


def test_an_example_is_picked_asked_and_read(tab: Tab, runs: Path, tmp_path: Path) -> None:
    """The second image is white (level 0 first: green, white, gray); the page says what `ask` says."""
    page = tab.page
    page.locator("#examples button").nth(1).click()
    page.wait_for_function("document.querySelector('#view img').src.length > 100")
    page.locator("#questions label", has_text=toy.WHO).click()
    page.wait_for_function(f"document.querySelector('#question textarea, #question input').value == {toy.WHO!r}")
    said = tab.ask()
    systems = [
        System(label, runs / stage / number(stage) / "checkpoint", prompt=prompt, max_new_tokens=tokens)
        for label, stage, prompt, tokens in (("CA-DPO", "dpo", "level-0.6", 5), ("base", "base", "plain", 24))
    ]
    known = Question(key="k", image_key="white", text=toy.WHO, answerable=False, kind="context-dependent")
    for expected in ask(systems, toy.image("white"), toy.WHO, known):
        card = said.locator(f'[data-system="{expected.label}"]')
        assert card.locator(".verdict").inner_text() == "answer"
        assert card.locator(".outcome").inner_text() == "wrong"
        assert " ".join(card.locator("blockquote").inner_text().split()) == " ".join((expected.text or "(empty)").split())
        assert float(card.locator("output").inner_text()) == pytest.approx(expected.margin, abs=0.011)
    assert "The image cannot answer this (context-dependent: it is not said): a refusal is right." in said.inner_text()
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    shot = Image.open(tmp_path / "page.png")
    assert shot.width == 1160 and shot.height > 600


def test_nothing_that_is_typed_or_uploaded_is_run(tab: Tab, tmp_path: Path) -> None:
    said = tab.ask("<img src=x onerror=alert(1)> ${7*7} {{7}} is it red?")
    assert said.locator(".reply").count() == 2 and said.locator("img").count() == 0
    assert "contains the image placeholder" in tab.ask("what is <image>?").inner_text()
    bad = tmp_path / "bad.png"
    bad.write_text('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>')
    before = tab.page.locator("#view img").get_attribute("src")
    tab.page.locator("#upload input[type=file], input[type=file]").first.set_input_files(bad)
    tab.page.wait_for_selector("text=not a PNG, JPEG or WebP image")
    assert tab.page.locator("#view img").get_attribute("src") == before
    buffer = io.BytesIO()
    toy.image("blue").resize((40, 24)).save(buffer, format="PNG")
    tab.page.locator("#upload input[type=file], input[type=file]").first.set_input_files(
        {"name": "own.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    tab.page.wait_for_selector("text=40 x 24 pixels")
    assert tab.page.locator("#questions label").count() == 0
    assert tab.ask(toy.WHAT).locator(".reply").count() == 2
