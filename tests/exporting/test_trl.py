"""One step of TRL's own trainers on exported files, with a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_run
import toy
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from inbol.exporting.write import export_data


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = small_run.stages(tmp_path_factory.mktemp("runs"))
    folder = tmp_path_factory.mktemp("exports") / "trl"
    export_data(folder, "trl", folders["ingest"], {"sft": folders["sft_data"], "pairs": folders["pairs"]}, run="a-run")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    toy.model().save_pretrained(folder)
    toy.processor().save_pretrained(folder)
    return str(folder)


def arguments(kind: type, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=3, report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, learning_rate=1e-3, save_strategy="no", logging_steps=1, **more,
    )  # fmt: skip


def load(out: Path, kind: str, cache: Path) -> Any:
    return load_dataset(str(out), kind, split="train", cache_dir=str(cache))


def check(trainer: Any) -> None:
    """The step had a finite loss and moved the weights."""
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    (entry,) = (entry for entry in trainer.state.log_history if "loss" in entry)
    assert 0 < entry["loss"] < 100
    assert any(not p.equal(before[name]) for name, p in trainer.model.named_parameters() if name in before)


def test_sft_trainer_takes_the_messages(out: Path, checkpoint: str, tmp_path: Path) -> None:
    rows = load(out, "sft", tmp_path / "cache")
    check(SFTTrainer(model=checkpoint, args=arguments(SFTConfig, tmp_path), train_dataset=rows))


def test_sft_trainer_takes_prompt_and_completion_as_the_readme_says(out: Path, checkpoint: str, tmp_path: Path) -> None:
    rows = load(out, "sft", tmp_path / "cache")
    rows = rows.map(lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]}, remove_columns="messages")
    trainer = SFTTrainer(model=checkpoint, args=arguments(SFTConfig, tmp_path), train_dataset=rows)
    labels = trainer.data_collator([rows[0]])["labels"][0]
    learnt = toy.processor().tokenizer.decode(labels[labels >= 0], skip_special_tokens=True)
    assert learnt.strip() == toy.sft_examples()[0].target
    check(trainer)


def test_dpo_trainer_takes_the_pairs(out: Path, checkpoint: str, tmp_path: Path) -> None:
    rows = load(out, "pairs", tmp_path / "cache")
    check(DPOTrainer(model=checkpoint, args=arguments(DPOConfig, tmp_path), train_dataset=rows))
