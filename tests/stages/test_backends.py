"""`sample` and `predict` on a server: a fake one that gives log-probabilities, and a real one that serves a checkpoint on the CPU."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy
from fake_server import FakeServer, prompt_of, serving
from PIL import Image

from inbol.config.data import PredictConfig, SamplingConfig
from inbol.config.serving import JudgeConfig, JudgeStage, ServerConfig
from inbol.config.stages import PredictStage, SampleStage
from inbol.contracts import Prediction, ResponseSet
from inbol.endpoint.client import Server
from inbol.endpoint.decoding import Ask, Drawn, MissingLogprobs, ServerDecoder
from inbol.endpoint.vllm_engine import VllmDecoder
from inbol.judging.judge import Verdict
from inbol.models.tree import Branch, Tree
from inbol.shards.files import read_records, write_records
from inbol.stages import judge, predict, sample
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder
from tests.stages.test_sample import NAME, ORDER, write_world


def talks(body: dict[str, Any]) -> dict[str, Any]:
    """Says the question's length and the seed's parity, in two tokens of -0.5 and -0.25 nats."""
    said = f" {len(prompt_of(body))} {body.get('seed', 0) % 2} "
    tokens = [{"token": "a", "logprob": -0.5, "top_logprobs": []}, {"token": "b", "logprob": -0.25, "top_logprobs": []}]
    return {"message": {"content": said}, "logprobs": {"content": tokens}}


def server_config(url: str, **settings: Any) -> ServerConfig:
    return ServerConfig(base_url=url, model="{checkpoint}", **({"timeout_s": 5.0, "attempts": 2, "longest_wait_s": 0.01} | settings))


def orders(world: Path, stage: str, config: Any) -> Job:
    inputs = {"vqa": world / "vqa", "unsolvable": world / "unsolvable", "model": world / "model"}
    return Job(stage=stage, fingerprint="f", out=world / "runs" / stage / "f", inputs=inputs, config=config)


def sampling(world: Path, server: FakeServer, **settings: Any) -> Job:
    own = SamplingConfig(k=3, fresh=1, max_new_tokens=8, trees_per_batch=3, backend="openai", server=server_config(server.url, **settings))
    return orders(world, "sample", SampleStage(sampling=own, splits=("align-train",), seed=0))


def test_samples_of_a_server_are_the_same_records(tmp_path: Path) -> None:
    write_world(tmp_path, {})
    with serving(answer=talks) as server:
        facts = sample.run(sampling(tmp_path, server))
        body = server.bodies[0]
        assert body["model"] == str(tmp_path / "model" / "checkpoint")
        assert (body["temperature"], body["top_p"], body["max_tokens"], body["logprobs"]) == (1.0, 1.0, 8, True)
        assert len({body["seed"] for body in server.bodies}) == len(server.bodies) == 4 * len(ORDER)
    records = read_records(tmp_path / "runs" / "sample" / "f" / f"{NAME}.jsonl", ResponseSet)
    assert [record.key for record in records] == ORDER and facts["records"] == len(ORDER)
    for record in records:
        assert record.logprobs == (-0.75,) * 3 and record.num_tokens == (2,) * 3
        assert len(record.texts) == 3 and len(record.fresh_texts) == 1
        assert all(text.split()[0] == str(len(toy.WHO)) for text in record.texts if record.key.endswith("u0"))
    assert len({text for record in records for text in record.texts}) > 3  # draws differ


def test_pictures_are_sent_as_they_are(tmp_path: Path) -> None:
    write_world(tmp_path, {})
    with serving(answer=talks) as server:
        sample.run(sampling(tmp_path, server))
    url = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert any(picture.convert("RGB").tobytes() == toy.image(color).convert("RGB").tobytes() for color in toy.COLORS)


def test_predictions_are_greedy_and_a_server_that_fails_loses_nothing(tmp_path: Path) -> None:
    """Five answers, then it is dead: the stage ends with the question's name. The second run asks for the rest alone."""
    write_world(tmp_path, {})

    def stage(server: FakeServer) -> Job:
        own = PredictConfig(max_new_tokens=8, trees_per_batch=2, backend="openai", server=server_config(server.url, concurrency=1))
        return orders(tmp_path, "predict", PredictStage(predict=own, split="align-train", prompt="plain"))

    with serving(*["ok"] * 5, *[500] * 99, answer=talks) as server:
        with pytest.raises(RuntimeError, match=r"-[qu]0?1?: server: HTTP 500.*2 times.*run again to ask for the rest"):
            predict.run(stage(server))
        assert not (tmp_path / "runs" / "predict" / "f" / f"{NAME}.jsonl").exists()
        server.plan.clear()
        server.bodies.clear()
        predict.run(stage(server))
        assert len(server.bodies) == len(ORDER) - 5
        assert all(body["temperature"] == 0.0 for body in server.bodies)
    records = read_records(tmp_path / "runs" / "predict" / "f" / f"{NAME}.jsonl", Prediction)
    assert [record.key for record in records] == ORDER
    assert {(record.logprob, record.num_tokens) for record in records} == {(-0.75, 2)}


@pytest.mark.parametrize("given", [None, {"content": []}, {"content": None}])
def test_a_server_without_logprobs_is_refused_and_nothing_is_made_up(tmp_path: Path, given: Any) -> None:
    write_world(tmp_path, {})
    says = r"gives no log-probabilities; without them the sequence probability.*row `threshold`"
    with (
        serving(answer=lambda body: {"message": {"content": "red"}, "logprobs": given}) as server,
        pytest.raises(MissingLogprobs, match=says),
    ):
        sample.run(sampling(tmp_path, server))
    assert not (tmp_path / "runs" / "sample" / "f" / f"{NAME}.jsonl").exists()


def test_backends_are_refused_where_they_cannot_do_what_is_asked(tmp_path: Path) -> None:
    server = ServerConfig(base_url="http://host/v1", model="m")
    for wrong, says in (
        ({"backend": "tgi"}, "backend: 'tgi' is not one of 'tree', 'vllm', 'openai'"),
        ({"backend": "openai"}, "server.base_url: empty"),
        ({"backend": "openai", "server": server, "temperature": 0.7}, "temperature=0.7"),
        ({"backend": "openai", "server": server, "stop": "label"}, "stop: 'label' needs backend='tree'"),
    ):
        with pytest.raises(ValueError, match=says):
            SamplingConfig(**wrong)
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(ValueError, match=r"needs the package vllm.*inbol-recipes\[vllm\]"):
            VllmDecoder(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model" / "checkpoint"
    toy.model(3, scale=6.0).save_pretrained(folder)
    toy.processor().save_pretrained(folder)
    return folder


@pytest.mark.gpu
def test_vllm_says_what_the_trees_say(checkpoint: Path) -> None:
    """Run with: pip install 'inbol-recipes[vllm]' && pytest -m gpu tests/stages/test_backends.py

    Greedy texts and log-probabilities agree.
    """
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available() or importlib.util.find_spec("vllm") is None:
        pytest.skip("needs a CUDA device and vllm")
    asks = [Ask(key=color, prompt=toy.WHAT, image=toy.image(color)) for color in toy.COLORS]
    drawn = VllmDecoder(checkpoint).draw(asks, draws=1, max_new_tokens=6, temperature=0.0, top_p=1.0, seed=0)
    decoder = Decoder(checkpoint)
    for one, (ours,) in zip(drawn, decoder([Tree(a.image, (Branch(a.prompt),)) for a in asks], max_new_tokens=6), strict=True):
        assert one.texts[0] == decoder.text(ours.ids[0]) and one.num_tokens[0] == len(ours.ids[0])
        assert one.logprobs[0] == pytest.approx(ours.logprobs[0], abs=0.05)


@pytest.fixture(scope="module")
def real_server(checkpoint: Path) -> Iterator[str]:
    """`transformers serve` of the checkpoint on the CPU; its address."""
    if missing := [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]:
        pytest.skip(f"transformers serve needs {', '.join(missing)}: pip install 'inbol-recipes[serve]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint)]
    command += ["--device", "cpu", "--dtype", "float32", "--port", str(port)]
    log = checkpoint.parent / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def real_decoder(folder: Path, url: str, checkpoint: Path) -> ServerDecoder:
    where = Server(base_url=url, model=str(checkpoint), timeout_s=60.0, concurrency=2)
    return ServerDecoder(where, cache=folder / "cache", ledger=folder / "requests.jsonl", identity="test")


@pytest.mark.heavy
def test_a_real_server_says_what_the_trees_say(tmp_path: Path, real_server: str, checkpoint: Path) -> None:
    """Greedy texts to questions about pictures in data URLs, against decoding of our own; log-probabilities it has none, and says so."""
    asks = [Ask(key=color, prompt=toy.WHAT, image=toy.image(color)) for color in toy.COLORS]
    server = real_decoder(tmp_path, real_server, checkpoint)
    settings: dict[str, Any] = {"draws": 1, "max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    drawn: list[Drawn] = server.draw(asks, logprobs=False, **settings)
    decoder = Decoder(checkpoint)
    ours = [decoder.text(one.ids[0]) for (one,) in decoder([Tree(a.image, (Branch(a.prompt),)) for a in asks], max_new_tokens=6)]
    assert [one.texts[0] for one in drawn] == ours
    assert len(set(ours)) > 1  # the pictures matter
    with pytest.raises(MissingLogprobs, match="gives no log-probabilities"):
        server.draw(asks[:1], **settings)
    server.close()


@pytest.mark.heavy
def test_a_real_server_as_a_judge(tmp_path: Path, real_server: str, checkpoint: Path) -> None:
    """A random model says nothing readable: all is unjudged, asked as often as stated; the second run asks nothing."""
    write_world(tmp_path, {})
    said = [Prediction(key=key, image_key=key.split("-")[0], text="red", logprob=-1.0, num_tokens=1) for key in ORDER]
    write_records(tmp_path / "said" / f"{NAME}.jsonl", said)
    config = JudgeConfig(kind="openai", base_url=real_server, model=str(checkpoint), max_tokens=4, rereads=1, timeout_s=60.0)
    inputs = {"vqa": tmp_path / "vqa", "unsolvable": tmp_path / "unsolvable", "predictions": tmp_path / "said"}
    stage = JudgeStage(judge=config, split="align-train", bootstrap=10)
    facts = judge.run(Job(stage="judge", fingerprint="f", out=tmp_path / "r" / "judge" / "a", inputs=inputs, config=stage))
    found = read_records(tmp_path / "r" / "judge" / "a" / f"{NAME}.jsonl", Verdict)
    assert {(v.value, v.unjudged) for v in found} == {(None, "unreadable, 2 times")} and len(found) == len(said)
    assert facts["requests"] == 2 * 3 and facts["input_tokens"] > 0  # three questions, equal responses: nothing is asked twice
    again = judge.run(Job(stage="judge", fingerprint="f", out=tmp_path / "r" / "judge" / "b", inputs=inputs, config=stage))
    assert again["requests"] == 0
    assert json.loads((tmp_path / "r" / "judge" / "b" / "judge.json").read_text())["dimensions"]["refusal"]["judged"] == 0
