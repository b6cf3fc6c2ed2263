"""The page as a server: who is answered, what is opened, what leaves the machine, and what the command line refuses."""

from __future__ import annotations

import argparse
import io
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import toy
from PIL import Image

pytest.importorskip("gradio", reason="Gradio is not installed; make test installs it")

from starlette.testclient import TestClient

from inbol.config.load import ConfigError
from inbol.contracts import Question
from inbol.demo import page as demo_page
from inbol.demo.ask import System
from inbol.demo.examples import Example
from inbol.demo.page import POLICY, Page, Shown, application, build, is_loopback, quiet_environment
from launch import demo as launch_demo
from launch.demo import NO_BASE, chosen, parse
from tests.demo.world import RUN, finished, number, write_checkpoint


def encoded(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=image_format)
    return buffer.getvalue()


KNOWN = Question(key="red-q0", image_key="red", text=toy.WHAT, answers=("red",), kind="color")
EXAMPLE = Example("red", encoded(toy.image("red"), "PNG"), (KNOWN,))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_ANALYTICS_ENABLED", "GRADIO_SHARE", "GRADIO_TEMP_DIR", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # put back afterwards
    quiet_environment(str(tmp_path / "gradio"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint", 3)
    return Page([System("tuned", checkpoint, prompt="plain", max_new_tokens=3)], [EXAMPLE])


def test_an_example_is_picked_and_asked(page: Page) -> None:
    shown, view, questions, box, said = page.pick(0)
    assert (shown.questions, box, said) == ((KNOWN,), "", "")
    assert 'src="data:image/png;base64,' in view and questions["choices"] == [(f"{toy.WHAT}  —  red", "red-q0")]
    assert page.choose("red-q0", shown) == toy.WHAT
    assert page.choose("other", shown) == page.choose(None, None) == ""
    reply = page.ask(toy.WHAT, shown)
    assert 'data-system="tuned"' in reply and "margin of refusing" in reply and "The data set accepts: <b>red</b>" in reply
    assert "The data set accepts" not in page.ask("is it dark?", shown)
    assert "pick an example or upload an image first" in page.ask(toy.WHAT, None)
    assert "type a question first" in page.ask(" ", shown)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_an_own_image_is_shown(page: Page, image_format: str) -> None:
    shown, view, questions, *_ = page.upload(encoded(toy.image("blue"), image_format))
    assert shown.questions == () and "16 x 16 pixels" in view and questions["visible"] is False


def bomb() -> bytes:
    """A PNG whose header says 20000 x 20000 pixels."""
    data = bytearray(encoded(Image.new("1", (8, 8)), "PNG"))
    data[16:24] = (20000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a PNG, JPEG or WebP image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "not a PNG, JPEG or WebP image"),
        (encoded(toy.image("red"), "GIF"), "not a PNG, JPEG or WebP image"),
        (encoded(toy.image("red"), "BMP"), "not a PNG, JPEG or WebP image"),
        (b"", "not a PNG, JPEG or WebP image"),
        (encoded(toy.image("red"), "PNG")[:60], "damaged PNG image"),
        (bomb(), "image is too large"),
    ],
)
def test_other_files_are_refused_and_nothing_changes(page: Page, data: bytes, message: str) -> None:
    *kept, said = page.upload(data)
    assert message in said and 'role="alert"' in said and "<script" not in said
    assert all(value == demo_page.gr.skip() for value in kept)


@pytest.fixture(scope="module")
def client(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole application, built where every look-up of another host's name would raise."""

    def refuse(host: Any, *more: Any, **named: Any) -> Any:
        raise AssertionError(f"{host} was looked up")

    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", refuse)
    patch.setattr(socket.socket, "connect", lambda self, address: refuse(address))
    quiet_environment(str(tmp_path_factory.mktemp("gradio")))
    with TestClient(application(build(page, title="Demo", facts=""), "127.0.0.1"), base_url="http://127.0.0.1:7860") as made:
        yield made
    patch.undo()


def test_the_page_takes_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-security-policy"] == POLICY and "http" not in POLICY
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert all(dependency["api_visibility"] == "private" for dependency in config["dependencies"] if dependency["targets"])
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    theme = client.get("/theme.css").text
    assert "@import" not in theme and "//fonts" not in theme


def test_only_this_machines_names_are_answered(client: TestClient) -> None:
    """Against DNS rebinding: another site's name that resolves to 127.0.0.1."""
    assert client.get("/", headers={"host": "localhost:7860"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    foreign = client.get("/", headers={"origin": "http://evil.example"})
    assert foreign.headers.get("access-control-allow-origin") is None


def test_files_of_this_machine_are_not_served(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    for path in (tmp_path / "secret.txt", Path(__file__), Path("pyproject.toml").absolute()):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org")))


def test_arguments() -> None:
    assert (parse([]).host, parse([]).port) == ("127.0.0.1", 7860)
    assert parse(["port=0", "host=0.0.0.0", "prompt=allow-refusal"]).host == "0.0.0.0"
    with pytest.raises(ConfigError) as found:
        parse(["port=70000"])
    assert "port: 70000 is not in [0, 65535]" in str(found.value)
    for wrong, message in ((["share=true"], "share"), (["7861"], "'7861' is not key=value"), (["prompt=rude"], "'rude' is not one of")):
        with pytest.raises(ConfigError, match=message):
            parse(wrong)


def test_the_base_is_found_named_or_left_out(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    finished(runs, models=False)
    assert [one.label for one in chosen("", "", runs)] == ["CA-DPO", "base"]
    assert [one.label for one in chosen(RUN, NO_BASE, runs)] == ["CA-DPO"]
    assert [one.name for one in chosen("", str(runs / "sft" / number("sft")), runs)][1] == f"sft/{number('sft')}"


def test_a_port_that_is_taken_and_a_missing_run_are_mistakes(tmp_path: Path) -> None:
    """Both before a model is loaded: the checkpoints here are none."""
    finished(tmp_path / "runs", models=False)
    asked = argparse.Namespace(checkpoint="", base="", overrides=[f"runs_dir={tmp_path / 'none'}"])
    with pytest.raises(ConfigError, match="none was named"):
        launch_demo.demo(asked)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked.overrides = [f"runs_dir={tmp_path / 'runs'}", f"port={port}"]
        with pytest.raises(ConfigError, match=rf"127.0.0.1:{port} cannot be served \(Address already in use.*port=0"):
            launch_demo.demo(asked)


def test_gradio_opens_no_image(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its image widgets would open an upload with any of Pillow's decoders; the only way in is a button that hands over bytes."""
    blocks = build(page, title="Demo", facts="")
    kinds = [type(block).__name__ for block in blocks.blocks.values()]
    assert "UploadButton" in kinds and not {"Image", "File", "ImageEditor", "MultimodalTextbox"} & set(kinds)
    gallery = next(block for block in blocks.blocks.values() if type(block).__name__ == "Gallery")
    assert gallery.interactive is False
    assert all(gallery not in dependency.inputs for dependency in blocks.fns.values())
    assert Shown(b"").questions == ()
