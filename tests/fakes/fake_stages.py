"""Tiny stages for the launcher's tests, run by the real machinery: `fake_inline`, `fake_shards` and `fake_ranks`."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inbol.stages import __main__ as stages
from inbol.stages.job import Job
from inbol.stages.registry import STAGES, StageSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeStage:
    """What the fake does."""

    action: str = "write"
    """`write`, `fail` (the last rank raises), `hang` (writes its pid and sleeps) or `silent` (ends at once without facts)."""


def run(job: Job) -> dict[str, Any]:
    """Write one file a rank, or do what `action` says."""
    action = job.config.action
    if action == "fail" and job.rank == job.world_size - 1:
        print("about to break", flush=True)
        raise ValueError("level: 7 is not a level")
    if action in ("hang", "fail"):
        (job.out / f"pid-{job.rank}").write_text(json.dumps({"pid": os.getpid(), "session": os.getsid(0)}))
        time.sleep(120)
    if action == "silent":
        os._exit(0)
    parents = sorted(path.name for folder in job.inputs.values() for path in Path(folder).glob("part-*"))
    (job.out / f"part-{job.rank}.txt").write_text(f"{job.rank} of {job.world_size}")
    (job.out / f"progress-{job.rank}.json").write_text(json.dumps({"done": 1, "total": 1}))
    return {"parts": 1, "parents": len(parents), "trees_read_by_this_rank": 10 + job.rank, "device": "cpu"}


for _name in ("inline", "shards", "ranks"):
    STAGES[f"fake_{_name}"] = StageSpec(FakeStage, _name, 1)  # type: ignore[arg-type]
    sys.modules[f"inbol.stages.fake_{_name}"] = sys.modules[__name__]

if __name__ == "__main__":
    stages.main()
