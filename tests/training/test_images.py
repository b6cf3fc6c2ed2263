"""Images that cannot be read while training: set aside up to a share, in agreement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import toy
from small_shards import png, sample

from inbol.contracts import SftExample
from inbol.models.tree import TreeCollator
from inbol.shards.cache import ShardCache
from inbol.shards.link import link_shards
from inbol.shards.quarantine import TooManyBad, read_quarantine
from inbol.shards.writer import write_shard
from inbol.training.images import Images, check_unreadable
from inbol.training.objectives import SftObjective
from inbol.training.stream import Visit


@pytest.fixture
def vqa(tmp_path: Path) -> Path:
    """Three images; a byte in the middle of the second one's pixels is damaged after the index was written."""
    path = tmp_path / "vqa" / "test-000000.tar"
    write_shard(path, [sample(n) for n in range(3)])
    data = path.read_bytes()
    at = data.index(png(1)) + 46
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    return path.parent


def test_without_a_quarantine_it_is_an_error(vqa: Path) -> None:
    images = Images(vqa)
    assert images("test-0").size == images.size("test-0") == (8, 6)
    with pytest.raises(ValueError, match=r"image 'test-1': damaged PNG image"):
        images("test-1")


def test_with_one_it_is_named_once_and_weighs_nothing(vqa: Path, tmp_path: Path) -> None:
    """Weights .5, 2 and 1: the denominator keeps the 2, the batch does not."""
    file = tmp_path / "quarantine-0.jsonl"
    images = Images(vqa, quarantine=file)
    examples = [
        SftExample(key=f"k{n}", image_key=f"test-{n}", prompt=toy.WHAT, target="red", weight=weight, role="answer")
        for n, weight in enumerate((0.5, 2.0, 1.0))
    ]
    objective = SftObjective(examples, images, TreeCollator(toy.processor()))
    visits = [Visit(n, 0, True) for n in range(3)]
    for _ in range(2):
        assert objective.collate(visits).weights.tolist() == [0.5, 0.0, 1.0]
    assert sum(map(objective.denominator, visits)) == 3.5
    assert objective.lost(visits) == ["test-1"]
    (problem,) = read_quarantine(file)
    assert (problem.shard, problem.key) == ("test-000000.tar", "test-1")
    assert json.loads(file.read_text())["reason"].startswith("damaged PNG")
    again = Images(vqa, quarantine=file)  # a resumed run meets it again, and names it no second time
    again("test-1")
    assert len(read_quarantine(file)) == 1
    assert torch.isfinite(objective.collate(visits).weights).all()


def test_more_than_the_share_stops() -> None:
    assert check_unreadable({"a"}, size=10, share=0.1, world_size=1) == 1
    with pytest.raises(TooManyBad, match=r"2 of 10 trees .*optim.max_bad_share=0.1 tolerates 1; .*: a, b$"):
        check_unreadable({"a", "b"}, size=10, share=0.1, world_size=1)


def test_a_linked_shard_that_is_gone_is_set_aside_like_a_damaged_image(tmp_path: Path) -> None:
    write_shard(tmp_path / "far" / "a.tar", [sample(0)])
    link_shards(tmp_path / "vqa", {"": str(tmp_path / "far")}, ShardCache(tmp_path / "cache", limit=10**6))
    (tmp_path / "far" / "a.tar").unlink()
    with pytest.raises(ValueError, match=r"image 'test-0': .*a\.tar: No such file"):
        Images(tmp_path / "vqa")("test-0")
    images = Images(tmp_path / "vqa", quarantine=tmp_path / "quarantine-0.jsonl")
    assert images("test-0").size == (8, 6)
    assert images.unreadable == {"test-0"}
