"""Where a training goes on: from the newest whole checkpoint of the same training, and never silently from the start."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_runs import UNSHARDED, budget, mixed_objective, objective

from inbol.shards.files import write_text
from inbol.training import resume as module
from inbol.training.arguments import bound
from inbol.training.checkpoints import PART, checkpoints, hashes, listing, publish
from inbol.training.resume import (
    STREAM,
    Resume,
    differences,
    digest,
    find_resume,
    hyperparameters,
    restore_hyperparameters,
    stream_facts,
)

BOUND: dict[str, Any] = {"records": "a" * 64, "global_batch": 16, "seed": 0, "loss": {"beta": 0.5}}


def save(folder: Path, step: int, *, world_size: int = 2, since: int = 0) -> Path:
    part = folder / f"{PART}{step}" / f"checkpoint-{step}"
    write_text(part / STREAM, stream_facts(BOUND, world_size=world_size, since=since))
    write_text(part / f"global_step{step}" / "weights.pt", f"weights of step {step}")
    publish(part, folder / part.name, hashes(part, listing(part)))
    part.parent.rmdir()
    return folder / part.name


def find(folder: Path, bound: dict[str, Any] = BOUND, *, zero_stage: int = 0, changed: bool = False) -> Resume:
    return find_resume(folder, bound, rank=0, world_size=1, zero_stage=zero_stage, changed=changed)


def damage(checkpoint: Path) -> None:
    (file,) = checkpoint.glob("global_step*/weights.pt")
    file.write_text(file.read_text()[:-1])


def test_nothing_there_is_the_start(tmp_path: Path) -> None:
    """What a kill left half written is removed, and was never a checkpoint."""
    (tmp_path / f"{PART}2" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / ".old-checkpoint-1").mkdir()
    assert find(tmp_path) == Resume() == find(tmp_path / "missing")
    assert not list(tmp_path.iterdir())


def test_the_newest_whole_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """10 is damaged and 12 has lost its marker: 4, aloud, with the file that failed; both are put aside, so that step 10 can be saved."""
    for step in (2, 4, 10, 12):
        save(tmp_path, step)
    assert find(tmp_path) == Resume(step=12, folder=tmp_path / "checkpoint-12")
    damage(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-12" / "COMPLETE").unlink()
    with caplog.at_level(logging.WARNING):
        assert find(tmp_path) == Resume(step=4, folder=tmp_path / "checkpoint-4")
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("checkpoint 12 is not whole: COMPLETE is missing; it is now ") and first.endswith("/checkpoint-4")
    assert second.startswith("checkpoint 10 is not whole: global_step10/weights.pt has 17 bytes instead of 18; it is now ")
    assert checkpoints(tmp_path) == [4, 2]
    assert (tmp_path / "failed-checkpoint-10").is_dir()


def test_it_never_starts_over_in_silence(tmp_path: Path) -> None:
    """Both fail: an error that names both, the files, and the way out; nothing is moved or removed."""
    for step in (2, 4):
        damage(save(tmp_path, step))
    with pytest.raises(ValueError, match="is whole") as caught:
        find(tmp_path)
    message = str(caught.value)
    for step in (2, 4):
        assert f"{tmp_path}/checkpoint-{step}: global_step{step}/weights.pt has 16 bytes instead of 17" in message
    assert "put the files back, or delete these folders to train from the start" in message
    assert checkpoints(tmp_path) == [4, 2]


def test_another_training_is_refused_with_every_difference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = save(tmp_path, 4)
    other = {"records": "a" * 63 + "b", "global_batch": 32, "seed": 0, "loss": {"beta": 0.1}, "new": None}
    with pytest.raises(ValueError, match="belongs to another training") as caught:
        find(tmp_path, other)
    message = str(caught.value)
    assert message.startswith(f"{chosen} belongs to another training: records: ")
    assert 'global_batch: 16 -> 32; loss: {"beta": 0.5} -> {"beta": 0.1}; new: absent -> null.' in message
    assert "seed" not in message
    assert "optim.resume_changed=true" in message
    with caplog.at_level(logging.WARNING):
        found = find(tmp_path, other, changed=True)
    assert (found.step, found.folder, found.since, len(found.changed)) == (4, chosen, 4, 4)
    assert "global_batch: 16 -> 32" in caplog.text


def test_a_new_beginning_of_the_account_is_kept(tmp_path: Path) -> None:
    save(tmp_path, 6, since=4)
    assert find(tmp_path) == Resume(step=6, folder=tmp_path / "checkpoint-6", since=4)


def test_long_values_differ_beyond_what_is_shown() -> None:
    """Lists and tuples are the same in JSON, and so here."""
    one, other = "x" * 200, "x" * 199 + "y"
    assert differences({"a": one, "b": [1, 2]}, {"a": other, "b": (1, 2)}) == [f'a: "{"x" * 76}... -> "{"x" * 76}...']


def test_only_another_number_of_ranks_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ZeRO the state is whole on every rank. A conversion that fails says so, and leaves nothing; the checkpoint stays as it is."""
    save(tmp_path, 4)
    made: list[tuple[Path, Path]] = []
    monkeypatch.setattr(module, "to_universal", lambda checkpoint, target: made.append((checkpoint, target)))
    assert find(tmp_path, zero_stage=0).universal is False and not made
    found = find(tmp_path, zero_stage=2)
    assert found == Resume(step=4, folder=tmp_path / ".universal-4", universal=True)
    assert made == [(tmp_path / "checkpoint-4", tmp_path / ".universal-4")]
    save(tmp_path, 6, world_size=1)
    assert find(tmp_path, zero_stage=3) == Resume(step=6, folder=tmp_path / "checkpoint-6")


def test_hyperparameters_are_put_back() -> None:
    """As DeepSpeed leaves them: both groups with the first one's, and one step tensor for both."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [parameters[0]], "lr": 1e-2, "weight_decay": 0.1}, {"params": [parameters[1]], "lr": 1e-3, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    made_with = hyperparameters(optimizer)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        sum(p.sum() for p in parameters).backward()
        optimizer.step()
        scheduler.step()
    shared = optimizer.state[parameters[0]]["step"]
    optimizer.state[parameters[1]]["step"] = shared
    optimizer.param_groups[1].update({name: value for name, value in optimizer.param_groups[0].items() if name != "params"})
    scheduler.base_lrs = [5.0, 5.0]
    restore_hyperparameters(optimizer, scheduler, made_with)
    assert [(group["lr"], group["initial_lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (1e-2 / 4, 1e-2, 0.1),
        (1e-3 / 4, 1e-3, 0.0),
    ]
    assert scheduler.get_last_lr() == [1e-2 / 4, 1e-3 / 4]
    steps = [optimizer.state[parameter]["step"] for parameter in parameters]
    assert [float(step) for step in steps] == [3.0, 3.0] and steps[0] is not steps[1]
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-2 / 5, 1e-3 / 5])


def test_a_digest_knows_order_and_borders() -> None:
    assert len({digest(lines) for lines in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"], [])}) == 5


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_what_a_checkpoint_is_bound_to(kind: str) -> None:
    """JSON values; equal for equal data, and another for another weight, lr or seed. What is saved and logged when plays no part."""

    def of(made: Any, *, save_steps: int = 2, seed: int = 3) -> dict[str, Any]:
        return bound(made, budget(save_steps=save_steps), UNSHARDED, seed=seed, max_steps=4, lr_factors={})

    now = of(objective(kind))
    assert differences(json.loads(json.dumps(now)), of(objective(kind), save_steps=7)) == []
    assert now["trees"] == 6 and now["objective"] == kind and len(now["records"]) == 64
    assert differences(now, of(objective(kind), seed=4)) == ["seed: 3 -> 4"]
    changed = objective(kind)
    groups = changed.groups if kind == "sft" else changed.trees.groups
    groups[0] = groups[0][:-1]
    names = [line.split(":")[0] for line in differences(now, of(changed))]
    assert names == ["records"] + ["reference"] * (kind == "dpo")
    assert differences(of(mixed_objective()), of(objective("sft"))) == [], "pictures are bound by their keys"
