"""What the linter of shards says about right and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_shards import foreign, sample, write_tar

from inbol.shards.cache import ShardCache
from inbol.shards.check import Balance, balance, check, lines
from inbol.shards.writer import write_shard


def test_balance_by_hand() -> None:
    """10, 1 and 4 samples over 2 ranks: dealt one by one 8 and 7; by whole shards 10 + 4 and 1. Over 4 ranks one has no shard."""
    assert balance([10, 1, 4], 2) == (Balance(7, 8, 0), Balance(1, 14, 0))
    assert balance([10, 1, 4], 4) == (Balance(3, 4, 0), Balance(0, 10, 1))


def test_ours_and_foreign_shards_are_counted(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [sample(n) for n in range(3)])
    write_tar(
        tmp_path / "b.tar", [*foreign(["x", "y"], split="test"), ("z.png", b"no"), ("z.json", b"{}"), ("x.png", b""), ("y.cls", b"1")]
    )
    shown: list[str] = []
    found = check(str(tmp_path), ShardCache(tmp_path / "c", limit=1), report=lambda *_: None, show=lambda key, *_: shown.append(key))
    assert (found.samples, found.questions, found.splits, found.sizes) == (5, 5, {"test": 5}, {"8 x 6": 5})
    assert shown == ["test-0", "test-1", "test-2", "x", "y"]
    assert [(shard.samples, shard.problems) for shard in found.shards] == [(3, 0), (2, 3)]
    text = "\n".join(lines(found, 2))
    assert "each reads 2 to 3 samples an epoch here; dealt by whole shards it would be 2 to 3" in text
    assert "problems    3 (37.50%); source.max_bad_share=0.375 would tolerate them" in text
    assert "sample 'z': lacks" not in text  # the image is looked at after the record
    assert "sample 'z': .json has no question" in text
    assert "sample 'x': a sample with this key came before" in text


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no shards"):
        check(str(tmp_path), ShardCache(tmp_path / "c", limit=1), report=lambda *_: None)
