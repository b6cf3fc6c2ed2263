"""Fingerprints follow what a stage depends on; a manifest lists what it wrote, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from inbol.shards import manifest
from inbol.shards.manifest import fingerprint, is_complete, read_manifest, write_manifest


def write(folder: Path, **changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "stage": "sample",
        "fingerprint": "abc",
        "stage_version": 2,
        "config": {"k": 10},
        "parents": {"vqa": "def"},
        "facts": {"responses": 3},
        "seconds": 1.23456,
        "world_size": 2,
    }
    return write_manifest(folder, **{**values, **changes})  # type: ignore[arg-type]


def test_a_fingerprint_ignores_the_order_of_keys_alone() -> None:
    one = fingerprint("sft", 1, {"a": 1, "b": [1, 2]}, {"x": "1", "y": "2"})
    assert one == fingerprint("sft", 1, {"b": [1, 2], "a": 1}, {"y": "2", "x": "1"})
    assert len(one) >= 12 and int(one, 16) >= 0
    others = [
        fingerprint("dpo", 1, {"a": 1, "b": [1, 2]}, {"x": "1", "y": "2"}),
        fingerprint("sft", 2, {"a": 1, "b": [1, 2]}, {"x": "1", "y": "2"}),
        fingerprint("sft", 1, {"a": 1, "b": [2, 1]}, {"x": "1", "y": "2"}),
        fingerprint("sft", 1, {"a": 1, "b": [1, 2]}, {"x": "1", "y": "3"}),
        fingerprint("sft", 1, {"a": 1, "b": [1, 2]}, {"x": "2", "y": "1"}),
    ]
    assert len({one, *others}) == 6


def test_the_manifest_lists_outputs_with_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "test-000000.jsonl").write_text("line\n")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    for name in ("sample.log", "job.json", ".lock", "progress-0.json", "facts-0.json", ".x.jsonl.7.part"):
        (tmp_path / name).write_text("work")
    for name in ("trainer/checkpoint-5/weights", "tracker/run/log"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("work")
    assert not is_complete(tmp_path)
    written = write(tmp_path)
    assert is_complete(tmp_path)
    assert read_manifest(tmp_path) == written
    files = written["files"]
    assert isinstance(files, dict)
    assert files == {
        "checkpoint/config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "bytes": 2},
        "test-000000.jsonl": {"sha256": hashlib.sha256(b"line\n").hexdigest(), "bytes": 5},
    }
    assert written["packages"]["torch"] and written["world_size"] == 2 and written["seconds"] == 1.235  # type: ignore[index]


def test_no_environment_reaches_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hunter2hunter2")
    write(tmp_path)
    assert "hunter2" not in (tmp_path / "manifest.json").read_text()


def test_an_incomplete_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not complete.*run the recipe again"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{tru")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_manifest(tmp_path)


def test_an_image_says_its_revision_where_there_is_no_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "manifest.py"))
    monkeypatch.setenv("INBOL_REVISION", "c0ffee")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert manifest.git_revision.__wrapped__() == "c0ffee"
    monkeypatch.setenv("INBOL_REVISION", "")
    assert manifest.git_revision.__wrapped__() is None
