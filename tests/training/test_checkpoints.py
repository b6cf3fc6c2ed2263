"""Checkpoints count when they are marked complete, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbol.training.checkpoints import COMPLETE, last_complete, write_marker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps 2, 4 and 10 are complete, 12 was cut off; something else lies beside them."""
    for step in (2, 4, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 4, 10):
        write_marker(tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "log_history.json").write_text("[]")
    return tmp_path


def test_the_newest_complete_one_by_number(folder: Path) -> None:
    """10 comes after 4, though not in the alphabet; 12 has no marker and is removed by the rank that may."""
    assert last_complete(folder, remove_others=False) == folder / "checkpoint-10"
    assert (folder / "checkpoint-12").exists()
    assert last_complete(folder, remove_others=True) == folder / "checkpoint-10"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint-10", "checkpoint-2", "checkpoint-4", "checkpoint-best", "log_history.json",
    ]  # fmt: skip


def test_nothing_complete_is_none(tmp_path: Path) -> None:
    assert last_complete(tmp_path, remove_others=True) is None
    assert last_complete(tmp_path / "missing", remove_others=True) is None
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / f".{COMPLETE}.1.part").write_text("")
    assert last_complete(tmp_path, remove_others=True) is None
    assert not (tmp_path / "checkpoint-3").exists()
