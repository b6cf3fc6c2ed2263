"""One rank of test_ranks.py: `deepspeed --num_gpus N --no_local_rank rank_script.py OUT` runs both objectives under ZeRO 2, then a crash.

OUT/{sft,dpo}: a run each. OUT/mixed: SFT under ZeRO 3 of trees with and without pictures. OUT/whole and OUT/crashed: SFT with attention
dropout, once in one go, once stopped after step 3 (step 2 was saved) and run again. Each holds `checkpoint/` (a Hugging Face folder),
`log_history.json` and `facts-<rank>.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import toy
from toy_runs import OBJECTIVES, SEED, budget, config_class, mixed_objective, objective, start_model
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from inbol.training.checkpoints import export
from inbol.training.engine import start_ranks
from inbol.training.trainer import Report, Sharding, train


class CrashError(Exception):
    """The end of the run, without a chance to save."""


def crash_after(step: int) -> Report:
    def report(done: int, total: int, note: str) -> None:
        if done == step:
            raise CrashError

    return report


def run(kind: str, folder: Path, rank: int, world_size: int, *, dropout: float = 0.0, report: Report = lambda *_: None) -> None:
    unset_hf_deepspeed_config()  # of the run before, which would make the next model partitioned
    model: Any = start_model()
    for module in model.model.language_model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    trainer, facts = train(
        mixed_objective() if kind == "mixed" else objective(kind),
        model,
        toy.processor(),
        config_class=config_class("sft" if kind == "mixed" else kind),
        folder=folder,
        budget=budget(save_steps=2),
        sharding=Sharding(zero_stage=3 if kind == "mixed" else 2, precision="fp32", offload_optimizer=False, gradient_checkpointing=False),
        seed=SEED,
        rank=rank,
        world_size=world_size,
        report=report,
    )  # fmt: skip
    export(trainer, toy.processor(), folder / "checkpoint")
    if rank == 0:
        (folder / "log_history.json").write_text(json.dumps(trainer.state.log_history))
    (folder / f"facts-{rank}.json").write_text(json.dumps(facts))


def main() -> None:
    out = Path(sys.argv[1])
    rank, world_size = start_ranks()
    for kind in OBJECTIVES:
        run(kind, out / kind, rank, world_size)
    run("mixed", out / "mixed", rank, world_size)
    run("sft", out / "whole", rank, world_size, dropout=0.2)
    try:
        run("sft", out / "crashed", rank, world_size, dropout=0.2, report=crash_after(3))
    except CrashError:
        (out / "crashed" / ".part-3" / "checkpoint-3").mkdir(parents=True, exist_ok=True)  # as if step 3 had been in the saving
        assert not list((out / "crashed" / "checkpoint-2").glob("rng_state*")), "dropout is a function of seed, step and rank"
    else:
        raise AssertionError("the run was to stop after step 3")
    run("sft", out / "crashed", rank, world_size, dropout=0.2)


if __name__ == "__main__":
    main()
