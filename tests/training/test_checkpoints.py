"""Checkpoints count when they are marked complete, and only then."""

from __future__ import annotations

from pathlib import Path

import families
import pytest

from inbol.training.checkpoints import COMPLETE, copy_processor, last_complete, write_marker


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


def test_a_processor_is_copied_as_it_is(tmp_path: Path) -> None:
    """All files of a real-format processor and its video part, which is never loaded; nothing of the model."""
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    families.model("qwen3_vl").save_pretrained(source)
    families.processor("qwen3_vl").save_pretrained(source)
    (source / "video_preprocessor_config.json").write_text('{"fps": 2}')
    copied = copy_processor(source, target)
    model = {"config.json", "generation_config.json", "model.safetensors"}
    assert set(copied) == {path.name for path in source.iterdir()} - model >= {"video_preprocessor_config.json", "tokenizer.json"}
    assert all((source / name).read_bytes() == (target / name).read_bytes() for name in copied)
