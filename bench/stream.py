"""Samples per second of reading shards, shuffled and decoded, in one process: samples / time. And the first batch after a resume.

All sides read the same JPEG files: ours, `webdataset` and `datasets` from the same tar files, `mosaicml-streaming` from its own format,
into which they are copied byte for byte. The floor decodes the same images and records from memory.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.harness import Measure, Prepared
from inbol.contracts import Question, VqaSample
from inbol.shards.codec import decode
from inbol.shards.images import decode_image
from inbol.shards.order import at_places, epoch_order
from inbol.shards.reader import ImageStore
from inbol.shards.writer import write_shard

PEERS = {"webdataset": "webdataset", "datasets": "datasets", "mosaicml": "mosaicml-streaming"}
CASES = {
    **{f"stream-{peer}": peer for peer in PEERS},
    **{f"stream-resume-{share}": str(share) for share in (1, 50, 99)},
}
SHARDS, PER_SHARD, PIXELS = 4, 250, 336
"""Of the throughput cases."""
RESUME_SHARDS, RESUME_PER_SHARD, BATCH = 20, 1000, 16
"""Of the resume cases, whose images are 32 pixels wide."""


def prepare(name: str, clock: str) -> Prepared:
    """Write the shards, check that both sides give the same samples; nothing is chosen by time, so `clock` plays no part.

    Raises:
        AssertionError: a side loses or doubles a sample, or decodes other pixels.
        SystemExit: the peer is not installed.
    """
    return _resume(name, int(CASES[name])) if name.startswith("stream-resume") else _throughput(name, CASES[name])


def _throughput(name: str, peer: str) -> Prepared:
    folder = Path(tempfile.mkdtemp(prefix="bench-stream-"))
    samples = _write(folder, SHARDS, PER_SHARD, PIXELS)
    read = {"webdataset": _webdataset, "datasets": _datasets, "mosaicml": _mosaicml}[peer](folder, samples)
    sums = {sample.key: _sum(decode_image(sample.image)) for sample in samples}
    for side in (lambda: _ours(folder), read):
        assert {key: _sum(image) for key, image, _ in side()} == sums, f"{name}: a side gives other samples"
    encoded = [(sample.image, json.dumps({"text": sample.questions[0].text}).encode()) for sample in samples]
    floor: Callable[[], object] = lambda: [(decode_image(image), json.loads(record)) for image, record in encoded]  # noqa: E731
    return Prepared(
        sides={"ours": lambda: _exhaust(_ours(folder)), "peer": lambda: _exhaust(read()), "floor": floor},
        measures=(
            Measure(
                name=name,
                unit="samples/s",
                ours=lambda times: len(samples) / times["ours"],
                peer=lambda times: len(samples) / times["peer"],
                floor=lambda times: times["ours"] / times["floor"],
            ),
        ),
        peer={"webdataset": "webdataset, buffer of 500", "datasets": "`datasets` streaming, buffer of 500", "mosaicml": "StreamingDataset"}[
            peer
        ],
        peer_package=PEERS[peer],
    )


def _resume(name: str, share: int) -> Prepared:
    folder = Path(tempfile.mkdtemp(prefix="bench-resume-"))
    samples = _write(folder, RESUME_SHARDS, RESUME_PER_SHARD, 32)
    position = len(samples) * share // 100

    def ours() -> list[Any]:
        epoch_order.cache_clear()
        return [item for item, _ in zip(_ours(folder, position), range(BATCH), strict=False)]

    def theirs() -> list[Any]:
        import webdataset

        stream = iter(webdataset.WebDataset(_tars(folder), shardshuffle=False))
        for _ in range(position):
            next(stream)  # it has no other way; nothing is decoded
        return [Image.open(io.BytesIO(next(stream)["jpg"])).convert("RGB") for _ in range(min(BATCH, len(samples) - position))]

    assert len(ours()) == len(theirs()) == BATCH
    return Prepared(
        sides={"ours": ours, "peer": theirs, "floor": lambda: ImageStore(folder)},
        measures=(
            Measure(
                name=name,
                unit="resumes/s",
                ours=lambda times: 1 / times["ours"],
                peer=lambda times: 1 / times["peer"],
                floor=lambda times: times["ours"] / times["floor"],
            ),
        ),
        peer="webdataset, skipping",
        peer_package="webdataset",
    )


def _ours(folder: Path, start: int = 0) -> Iterator[tuple[str, Image.Image, Any]]:
    store = ImageStore(folder)
    keys = store.image_keys("test")
    for index in at_places(np.arange(start, len(keys)), n=len(keys), seed=0, epoch=0):
        sample = decode(keys[index], store.members(keys[index]))
        yield sample.key, decode_image(sample.image), sample.questions


def _webdataset(folder: Path, samples: list[VqaSample]) -> Callable[[], Iterator[Any]]:
    import webdataset

    def read() -> Iterator[Any]:
        stream = webdataset.WebDataset(_tars(folder), shardshuffle=SHARDS, seed=0).shuffle(500, seed=0).decode("pilrgb")
        return ((item["__key__"], item["jpg"], item["json"]) for item in stream)

    return read


def _datasets(folder: Path, samples: list[VqaSample]) -> Callable[[], Iterator[Any]]:
    import datasets

    data = datasets.load_dataset("webdataset", data_files=_tars(folder), streaming=True, split="train").shuffle(seed=0, buffer_size=500)
    return lambda: ((item["__key__"], item["jpg"].convert("RGB"), item["json"]) for item in data)


def _mosaicml(folder: Path, samples: list[VqaSample]) -> Callable[[], Iterator[Any]]:
    if "torchvision" not in sys.modules:  # its package imports torchvision for data sets that are not used here
        for module in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
            sys.modules[module] = types.ModuleType(module)
        sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]
        sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]
    try:
        from streaming import MDSWriter, StreamingDataset
    except ImportError as error:
        raise SystemExit(f"error: {error}; this case needs `pip install mosaicml-streaming`") from error
    local = folder / "mds"
    with MDSWriter(out=str(local), columns={"key": "str", "image": "bytes", "json": "json"}) as writer:
        for sample in samples:
            writer.write({"key": sample.key, "image": sample.image, "json": {"text": sample.questions[0].text}})
    data = StreamingDataset(local=str(local), shuffle=True, batch_size=1)
    return lambda: ((item["key"], decode_image(item["image"]), item["json"]) for item in data)


def _write(folder: Path, shards: int, per_shard: int, pixels: int) -> list[VqaSample]:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(shards):
        part = []
        for n in range(per_shard):
            key = f"i{number:03d}{n:05d}"
            coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(coarse).resize((pixels, pixels), Image.Resampling.BICUBIC).save(buffer, format="JPEG", quality=90)
            question = Question(key=f"{key}-q00", image_key=key, text="what is shown?", answers=("x",))
            part.append(
                VqaSample(key=key, image=buffer.getvalue(), image_format="jpg", split="test", source="bench", questions=(question,))
            )
        write_shard(folder / f"test-{number:06d}.tar", part)
        samples += part
    return samples


def _tars(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.tar"))]


def _sum(image: Image.Image) -> int:
    return int(np.asarray(image, dtype=np.int64).sum())


def _exhaust(items: Iterator[Any]) -> None:
    for _ in items:
        pass
