"""One rank of a whole recipe on tiny checkpoints of the families named: every stage in this process, collective ones on all ranks.

`deepspeed --num_gpus 2 --no_local_rank family_script.py <runs folder> <zero stage> <family> ...`
"""

from __future__ import annotations

import gc
import json
import os
import sys
from dataclasses import asdict
from importlib import import_module

import torch.distributed as dist
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from inbol.shards.manifest import write_manifest
from inbol.stages.job import Job
from inbol.stages.registry import STAGES
from inbol.training.engine import start_ranks
from launch.compose import compose_run
from launch.plan import plan


def overrides(runs: str, zero: str, family: str) -> list[str]:
    sizes = ["base.tiny.hidden_size=32", "base.tiny.text_layers=2", "base.tiny.vocab_size=400", "base.optim.epochs=1"]
    sizes += ["source.pretrain_images=16", "source.align_train_images=12", "source.align_val_images=4", "source.test_images=8"]
    sizes += ["source.images_per_shard=4", "sft.optim.save_steps=100", "dpo.optim.save_steps=100"]
    tower = [] if family == "llava" else ["base.tower_epochs=0", "base.tower_lr_factor=1"]
    return [f"runs_dir={runs}/{family}", f"deepspeed={zero}", f"base.tiny.family={family}", *sizes, *tower]


def main() -> None:
    runs, zero, *families = sys.argv[1:]
    rank, world = start_ranks()
    for family in families:
        gc.freeze()  # what has been imported stays: looking through it takes a quarter of a second a stage
        run = compose_run("inbol-dpo", "smoke", overrides(runs, zero, family))
        for node in plan(run):
            if node.stage == "report" and zero != "zero0":
                continue  # takes no model, and several seconds
            spec = STAGES[node.stage]
            inputs = {role: parent.folder.resolve() for role, parent in node.inputs.items()}
            job = Job(stage=node.stage, fingerprint=node.fingerprint, out=node.folder.resolve(), inputs=inputs, config=node.config)
            unset_hf_deepspeed_config()  # a stage has a process of its own otherwise, and knows nothing of the one before
            facts = {}
            if spec.parallel != "inline" or rank == 0:
                facts = import_module(f"inbol.stages.{job.stage}").run(job if spec.parallel == "inline" else job.at(rank, world))
            gc.collect()
            dist.barrier()
            if rank == 0:
                write_manifest(
                    job.out, stage=node.stage, fingerprint=node.fingerprint, stage_version=spec.version, config=asdict(node.config),
                    parents=node.parents, facts=facts, seconds=0.0, world_size=world,
                )  # fmt: skip
            dist.barrier()
    if rank == 0:
        print(json.dumps({"families": families}))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
