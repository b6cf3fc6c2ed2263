"""A checkpoint has its name once it is whole, and what happens to it afterwards is noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import families
import pytest

from inbol.training import checkpoints as module
from inbol.training.checkpoints import COMPLETE, PART, checkpoints, copy_processor, failure, hashes, listing, publish, rotate, sweep

FILES = {"trainer_state.json": b"{}", "global_step4/optim_0.pt": b"moments of rank 0", "global_step4/optim_1.pt": b"moments of rank 1"}


def write(folder: Path, step: int) -> Path:
    """A checkpoint, by the steps that the trainer takes, the hashing shared by two ranks."""
    part = folder / f"{PART}{step}" / f"checkpoint-{step}"
    for name, data in FILES.items():
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(data)
    names = listing(part)
    publish(part, folder / part.name, {**hashes(part, names[0::2]), **hashes(part, names[1::2])})
    part.parent.rmdir()
    return folder / part.name


def test_the_marker_lists_every_file(tmp_path: Path) -> None:
    """sha256 of b"{}" and the sizes by hand; whole for one reader as for three who share it."""
    whole = write(tmp_path, 4)
    files = json.loads((whole / COMPLETE).read_text())["files"]
    assert {name: facts["bytes"] for name, facts in files.items()} == {name: len(data) for name, data in FILES.items()}
    assert files["trainer_state.json"]["sha256"] == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert [failure(whole)] + [failure(whole, (rank, 3)) for rank in range(3)] == [None] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4"]


@pytest.mark.parametrize("name", FILES)
def test_every_damage_is_noticed_and_named(tmp_path: Path, name: str) -> None:
    """A file cut short, of the same length but changed, and gone; also by the one of two readers whose share it is."""
    whole = write(tmp_path, 4)
    data = FILES[name]
    (whole / name).write_bytes(data[:-1])
    assert failure(whole) == f"{name} has {len(data) - 1} bytes instead of {len(data)}"
    (whole / name).write_bytes(data[:-1] + b"!")
    assert failure(whole) == f"{name} has another content than was written"
    assert sorted(str(failure(whole, (rank, 2))) for rank in (0, 1)) == ["None", f"{name} has another content than was written"]
    (whole / name).unlink()
    assert failure(whole) == f"{name} is missing"


def test_a_folder_without_a_list_is_not_whole(tmp_path: Path) -> None:
    """Not marked, marked by a version that listed nothing, and a marker cut short."""
    whole = write(tmp_path, 4)
    text = (whole / COMPLETE).read_text()
    for wrong in ("all ranks have written their part\n", text[:-9], "[]", "{}"):
        (whole / COMPLETE).write_text(wrong)
        assert failure(whole) == "COMPLETE is no list of files"
    (whole / COMPLETE).unlink()
    assert failure(whole) == "COMPLETE is missing"


@pytest.mark.parametrize("dies_at", range(12))
def test_a_kill_while_it_is_written_leaves_nothing_with_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    """The n-th call that flushes, hashes or renames never returns: there is a whole checkpoint, or none; a second attempt succeeds."""
    calls = 0

    def dying(function: object) -> object:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == dies_at + 1:
                raise KeyboardInterrupt
            assert callable(function)
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync", dying(module.sync))
        patch.setattr(module, "write_text", dying(module.write_text))
        patch.setattr(os, "rename", dying(os.rename))
        try:
            write(tmp_path, 4)
            assert dies_at >= calls
        except KeyboardInterrupt:
            assert all(failure(tmp_path / f"checkpoint-{step}") is None for step in checkpoints(tmp_path))
    sweep(tmp_path)
    assert not list(tmp_path.glob(".*"))
    assert failure(write(tmp_path, 4)) is None


def test_the_newest_ones_are_kept(tmp_path: Path) -> None:
    """10 comes after 4, though not in the alphabet; what is no checkpoint stays."""
    for step in (2, 10, 4):
        write(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert checkpoints(tmp_path) == [10, 4, 2]
    rotate(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4", "checkpoint-best"]
    rotate(tmp_path, 2)
    assert checkpoints(tmp_path) == [10, 4]
    assert checkpoints(tmp_path / "missing") == []


def test_a_kill_while_one_is_removed_leaves_nothing_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (2, 4):
        write(tmp_path, step)

    def dying(path: Path, **_: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", dying)
        with pytest.raises(KeyboardInterrupt):
            rotate(tmp_path, 1)
    assert checkpoints(tmp_path) == [4]
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


def test_a_checkpoint_that_is_written_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    whole = write(tmp_path, 4)
    (whole / "more").write_text("of an older run")
    assert failure(write(tmp_path, 4)) is None
    assert sorted(path.name for path in whole.iterdir()) == [COMPLETE, "global_step4", "trainer_state.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


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
