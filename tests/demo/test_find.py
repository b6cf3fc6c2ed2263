"""What a person may name, and what is found from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inbol.contracts import Question
from inbol.demo.examples import examples_of, offered
from inbol.demo.find import asked_as, base_of, data_of, find_checkpoint
from tests.demo.world import RUN, finished, number, write_run, write_stage


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    finished(tmp_path / "runs", models=False)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "name",
    [
        "", RUN, f"{{runs}}/{RUN}", f"{{runs}}/{RUN}/dpo", f"{{runs}}/{RUN}/dpo/checkpoint", "{runs}/dpo/dpo0000000000000",
        "{runs}/dpo/dpo0000000000000/checkpoint",
    ],
)  # fmt: skip
def test_every_name_of_a_checkpoint_finds_it_with_base_and_data(runs: Path, name: str) -> None:
    found = find_checkpoint(name.format(runs=runs), runs)
    assert found.path == runs / "dpo" / number("dpo") / "checkpoint"
    assert found.name == f"dpo/{number('dpo')}"
    assert found.label == ("DPO" if "dpo/" in name or name.endswith("/dpo") else "CA-DPO")
    base = base_of(found)
    assert base is not None and base.path == runs / "base" / number("base") / "checkpoint"
    data = data_of(found)
    assert data is not None and (data.vqa.parent.name, data.unsolvable and data.unsolvable.parent.name) == ("ingest", "unsolvable")
    assert asked_as(found, prompt="plain", max_new_tokens=24) == ("level-0.6", 5)
    assert asked_as(base, prompt="plain", max_new_tokens=24) == ("plain", 24)


def test_a_base_has_no_base_and_its_linked_checkpoint_is_known(runs: Path, tmp_path: Path) -> None:
    """As `base` leaves a pretrained one: `checkpoint` is a link out of the stage."""
    checkpoint = runs / "base" / number("base") / "checkpoint"
    checkpoint.rename(tmp_path / "llava")
    checkpoint.symlink_to(tmp_path / "llava")
    found = find_checkpoint(str(checkpoint), runs)
    assert found.stage == runs / "base" / number("base")
    assert base_of(found) is None


def test_a_checkpoint_from_elsewhere_has_neither_base_nor_data(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "dpo" / number("dpo") / "checkpoint", tmp_path / "mine")
    found = find_checkpoint(str(tmp_path / "mine"), runs)
    assert (found.label, found.stage, base_of(found), data_of(found)) == ("mine", None, None, None)


def test_the_newest_run_with_a_report_is_taken(runs: Path) -> None:
    newer = write_run(runs, "idk-it-tiny-20261122-130000", rows=("base", "sft"))
    unfinished = write_run(runs, "inbol-dpo-tiny-20261122-140000")
    (unfinished / "report").unlink()
    for place, run in enumerate((newer, unfinished)):
        os.utime(run / "resolved.yaml", (2e9 + place, 2e9 + place))
    found = find_checkpoint("", runs)
    assert (found.label, found.stage) == ("CA-SFT", runs / "sft" / number("sft"))


def test_what_is_not_there_is_named_with_the_way_out(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none was named, and .*/none does not exist; run make train"):
        find_checkpoint("", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no finished run; run make train"):
        find_checkpoint("", tmp_path / "empty")
    with pytest.raises(ValueError, match=r"there is no folder 'nope', neither here nor in"):
        find_checkpoint("nope", runs)
    with pytest.raises(ValueError, match=r"empty' is no checkpoint \(config.json\), stage \(checkpoint/\) or run folder"):
        find_checkpoint(str(tmp_path / "empty"), runs)
    (runs / "dpo" / number("dpo") / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"the stage dpo of .* is not complete; CKPT=.*/sft is"):
        find_checkpoint(RUN, runs)
    with pytest.raises(ValueError, match=r"is not complete: it has no manifest.json; run the recipe again"):
        find_checkpoint(str(runs / "dpo" / number("dpo")), runs)


def test_the_last_round_of_preference_training_is_the_system_of_a_run(runs: Path) -> None:
    """Two rounds of DPO: the second stage's input `model` is the first one, and the base is found behind both."""
    write_stage(runs, "dpo", parents={"vqa": "ingest", "model": "dpo"}, name="dpo2")
    (runs / "dpo" / "dpo2" / "checkpoint").mkdir()
    (runs / "dpo" / "dpo2" / "checkpoint" / "config.json").write_text("{}")
    run = write_run(runs, "inbol-iterative-tiny-20261122-150000", rows=("base", "sft", "dpo", "dpo-2", "calibrated"))
    (run / "dpo-round 2").symlink_to(Path("..") / "dpo" / "dpo2")
    found = find_checkpoint(run.name, runs)
    base = base_of(found)
    assert (found.name, base and base.name) == ("dpo/dpo2", f"base/{number('base')}")


def test_the_plain_prompt_is_taken_where_predict_asked_in_two_styles(runs: Path) -> None:
    for name, prompt in (("a", "allow-refusal"), ("b", "plain")):
        config = {"prompt": prompt, "predict": {"max_new_tokens": 7}}
        write_stage(runs, "predict", parents={"model": "base", "vqa": "ingest", "unsolvable": "unsolvable"}, name=name, config=config)
    benchmark = {"prompt": "plain", "predict": {"max_new_tokens": 99}}
    write_stage(runs, "predict", parents={"model": "base", "vqa": "pairs", "unsolvable": "pairs"}, name="0", config=benchmark)
    base = find_checkpoint(str(runs / "base" / number("base")), runs)
    assert asked_as(base, prompt="plain", max_new_tokens=24) == ("plain", 7)


def test_a_stage_without_a_checkpoint_is_no_system(runs: Path) -> None:
    folder = write_stage(runs, "pairs")
    (folder / "job.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds no checkpoint \(stage pairs\); stages that have one are grpo, dpo, sft, base"):
        find_checkpoint(str(folder), runs)


def test_a_base_that_was_removed_is_named(runs: Path) -> None:
    shutil.rmtree(runs / "base")
    with pytest.raises(ValueError, match=rf"its input model \({number('base')}\) is not in .*; run the recipe again, or name BASE="):
        base_of(find_checkpoint("", runs))


def test_examples_hold_both_sides_of_the_boundary(runs: Path) -> None:
    """Level 0 first (green, white, gray), and both questions of an image."""
    examples = examples_of(data_of(find_checkpoint("", runs)), 3)
    assert [example.key for example in examples] == ["green", "gray", "blue"]
    assert [[q.answerable for q in example.questions] for example in examples] == [[True, False]] * 3
    assert examples_of(None, 3) == examples_of(data_of(find_checkpoint("", runs)), 0) == []


def test_kinds_take_turns() -> None:
    asked = [Question(key=str(n), image_key="i", text="?", answers=("a",), kind=kind) for n, kind in enumerate("aaabcb")]
    assert [q.key for q in offered(asked, 4)] == ["0", "3", "4", "1"]
