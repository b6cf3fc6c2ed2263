"""Shards on disk: equal bytes for equal samples, whole or absent, readable in order and at random."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbol.contracts import Question, VqaSample
from inbol.shards.reader import ImageStore, read_shard, shard_names, split_of
from inbol.shards.writer import write_shard


def _sample(number: int, split: str = "test") -> VqaSample:
    key = f"{split}-{number}"
    question = Question(key=f"{key}-q00", image_key=key, text="what?", answers=("x",))
    return VqaSample(
        key=key,
        image=bytes([number]) * (700 + number),
        image_format="png",
        split=split,
        source="s",
        questions=(question,),
        meta={"level": 0},
    )


SAMPLES = [_sample(number) for number in range(1, 6)]


def _raw_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_samples_come_back_in_order(tmp_path: Path) -> None:
    assert write_shard(tmp_path / "test-000000.tar", SAMPLES) == 5
    assert list(read_shard(tmp_path, "test-000000")) == SAMPLES


def test_writing_twice_gives_identical_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_shard(tmp_path / folder / "test-000000.tar", SAMPLES)
    for name in ("test-000000.tar", "test-000000.idx.json"):
        digests = {hashlib.sha256((tmp_path / folder / name).read_bytes()).hexdigest() for folder in ("a", "b")}
        assert len(digests) == 1, name


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[VqaSample]:
        yield SAMPLES[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_shard(tmp_path / "test-000000.tar", broken())
    with pytest.raises(ValueError, match="two samples have the key 'test-1'"):
        write_shard(tmp_path / "test-000000.tar", [SAMPLES[0], SAMPLES[0]])
    assert list(tmp_path.iterdir()) == []


def test_webdataset_reads_the_shard(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_shard(tmp_path / "test-000000.tar", SAMPLES)
    read = list(webdataset.WebDataset(str(tmp_path / "test-000000.tar"), shardshuffle=False))
    assert [(item["__key__"], item["png"]) for item in read] == [(sample.key, sample.image) for sample in SAMPLES]


def test_shard_names_are_sorted_and_chosen_by_split(tmp_path: Path) -> None:
    for name in ("test-000001", "align-train-000000", "test-000000", "notes"):
        (tmp_path / f"{name}.tar").touch()
    assert shard_names(tmp_path) == ["align-train-000000", "test-000000", "test-000001"]
    assert shard_names(tmp_path, ["test"]) == ["test-000000", "test-000001"]
    assert shard_names(tmp_path, ["pretrain"]) == []
    assert split_of("align-train-000000") == "align-train"
    with pytest.raises(ValueError, match="holds no shards"):
        shard_names(tmp_path / "absent")


@pytest.mark.parametrize("size", [0, 500, 1536, 2048, 3000])
def test_a_truncated_shard_is_refused_wherever_it_is_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "test-000000.tar"
    write_shard(path, SAMPLES)
    assert path.stat().st_size > size
    os.truncate(path, size)
    with pytest.raises(ValueError, match=r"test-000000\.tar.*(truncated|cut off)"):
        list(read_shard(tmp_path, "test-000000"))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.png", b"x"), ("b.png", b"x"), ("b.json", b"{}")], "'a': lacks its .json"),
        ([("a.png", b"x"), ("a.json", b"{"), ("b.png", b"x")], "'a': .json is not valid JSON"),
        ([("a.png", b"x"), ("a.png", b"y")], "'a': member .png occurs twice"),
        ([("a.png", b"x"), ("a.cls", b"1")], "'a': unknown member .cls"),
        ([("../a.png", b"x")], "sample key"),
    ],
)
def test_a_wrong_shard_is_refused_with_shard_and_key(tmp_path: Path, members: list[tuple[str, bytes]], message: str) -> None:
    _raw_tar(tmp_path / "test-000000.tar", members)
    with pytest.raises(ValueError, match=message) as error:
        list(read_shard(tmp_path, "test-000000"))
    assert "test-000000.tar" in str(error.value)


def test_links_in_a_shard_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "test-000000.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    with pytest.raises(ValueError, match="not a plain file"):
        list(read_shard(tmp_path, "test-000000"))


def test_an_image_store_reads_any_image_of_many_shards(tmp_path: Path) -> None:
    samples = [_sample(number, split) for split in ("align-val", "test") for number in range(1, 13)]
    for number, sample in enumerate(samples):  # more shards than open files
        write_shard(tmp_path / f"{sample.split}-{number:06d}.tar", [sample])
    store = ImageStore(tmp_path)
    assert len(store) == len(samples) == 24
    for again in (store, pickle.loads(pickle.dumps(store))):
        for sample in (*samples, *reversed(samples)):
            assert again[sample.key] == sample.image
    assert store.image_keys("test") == [sample.key for sample in samples if sample.split == "test"]
    assert store.image_keys("pretrain") == []
    assert "test-1" in store
    assert "nope" not in store
    with pytest.raises(KeyError, match="nope"):
        store["nope"]


def test_an_image_store_survives_a_fork(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-000000.tar", SAMPLES)
    store = ImageStore(tmp_path)
    assert store["test-1"] == SAMPLES[0].image  # the file is open when the fork happens
    child = os.fork()
    if child == 0:
        os._exit(0 if all(store[sample.key] == sample.image for sample in SAMPLES * 20) else 1)
    assert all(store[sample.key] == sample.image for sample in SAMPLES * 20)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_wrong_or_missing_index_is_built_anew_from_the_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "test-000000.tar", SAMPLES)
    index = tmp_path / "test-000000.idx.json"
    right = index.read_text()
    other_size = json.loads(right)
    other_size["bytes"] += 512
    for text in ("{", '{"a": [1]}', "[]", json.dumps({"test-1": [0, 10]}), json.dumps(other_size), None):
        index.unlink() if text is None else index.write_text(text)
        assert ImageStore(tmp_path)["test-1"] == SAMPLES[0].image
        assert index.read_text() == right
