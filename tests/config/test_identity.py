"""What names a stage's folder: every value but those that only say how the work is done."""

from __future__ import annotations

from dataclasses import asdict, replace

from inbol.config.data import PairsConfig, SourceConfig
from inbol.config.identity import identity
from inbol.config.published import PublishedConfig
from inbol.config.stages import SftStage
from inbol.config.training import DeepSpeedConfig, OptimConfig, PeftConfig, SftConfig

STAGE = SftStage(sft=SftConfig(optim=OptimConfig(lr=1e-3)), peft=PeftConfig(), deepspeed=DeepSpeedConfig(), seed=0)


def changed(**optim: object) -> SftStage:
    return replace(STAGE, sft=replace(STAGE.sft, optim=replace(STAGE.sft.optim, **optim)))


def test_working_fields_are_left_out_at_any_depth() -> None:
    whole = asdict(STAGE)
    optim = whole["sft"]["optim"]
    names = ("keep_checkpoints", "resume_changed", "loader_workers", "probe_steps", "probe_items")
    assert [optim.pop(name) for name in names] == [2, False, 0, 0, 8]
    assert identity(STAGE) == whole
    assert isinstance(identity(STAGE)["peft"]["target_modules"], tuple)


def test_they_find_the_same_folder_and_other_fields_another() -> None:
    assert identity(changed(keep_checkpoints=5, resume_changed=True, loader_workers=2)) == identity(STAGE)
    assert identity(changed(lr=2e-3)) != identity(STAGE)
    assert identity(changed(save_steps=7)) != identity(STAGE)


def test_a_field_that_came_later_leaves_old_folders_where_they_are() -> None:
    """It is left out at its default, and another value finds another folder."""
    before = PairsConfig()
    assert "of" not in identity(before) and "altered" not in identity(before)
    assert identity(replace(before, of="answerable")) == {**identity(before), "of": "answerable"}


def test_a_present_source_keeps_its_folder_and_published_files_count_where_they_are_set() -> None:
    """Another number of agreeing annotators is another folder."""
    source = SourceConfig(name="easy-vqa")
    assert "published" not in identity(source)
    one = replace(source, name="gqa", path="x", published=PublishedConfig(annotations="a.json", images="i"))
    assert identity(one) != identity(replace(one, published=replace(one.published, agreeing=2)))
