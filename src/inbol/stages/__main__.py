"""One process of one stage: `python -m inbol.stages <stage folder>/job.json [--rank R --world N]`.

The launcher starts it; under the `deepspeed` launcher rank and world size come from the environment. What the stage returns goes to
`facts-<rank>.json`, from which the launcher makes the manifest. The process ends with the launcher, however that ends. Where the launcher
can start a stage again, a signal makes it save and end early; its report is then `{"stopped": "<how far it was>"}`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from inbol import interrupt
from inbol.shards.files import write_text
from inbol.stages.job import Job, load_job
from inbol.text.masking import MaskingStream

WATCH = "INBOL_END_WITH_STDIN"
"""Set by the launcher, which holds the other end of every process's standard input and never writes to it."""


def run_stage(job: Job) -> dict[str, Any]:
    """Run one rank of a stage in this process, and return its facts."""
    module = importlib.import_module(f"inbol.stages.{job.stage}")
    gc.freeze()
    gc.enable()
    facts: dict[str, Any] = module.run(job)
    return facts


def end_with_launcher() -> None:
    """Exit as soon as the launcher is gone: its end of standard input closes whatever kills it, through any number of processes between.

    `PR_SET_PDEATHSIG` does the same for the direct parent (the DeepSpeed launcher's own child) where Linux offers it.
    """
    if os.environ.get(WATCH) != "1":
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="end-with-launcher", daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Parse the arguments, run this rank, write its facts."""
    end_with_launcher()
    interrupt.listen()
    gc.disable()  # torch and transformers make a million objects that stay; looking for garbage among them takes a second of the import
    parser = argparse.ArgumentParser(prog="python -m inbol.stages", description="One process of one stage; the launcher starts it.")
    parser.add_argument("job", type=Path, help="job.json of the stage folder")
    parser.add_argument("--rank", type=int, default=int(os.environ.get("RANK", "0")))
    parser.add_argument("--world", type=int, default=int(os.environ.get("WORLD_SIZE", "1")))
    args = parser.parse_args()
    sys.stdout, sys.stderr = MaskingStream(sys.stdout), MaskingStream(sys.stderr)
    job = load_job(args.job).at(args.rank, args.world)
    try:
        facts = run_stage(job)
    except interrupt.Interrupted as stopped:
        sys.stdout.write(f"rank {job.rank}: told to stop; everything is saved: {stopped}\n")
        interrupt.close_all()
        facts = {"stopped": str(stopped)}
    facts["peak_memory_gb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    write_text(job.out / f"facts-{job.rank}.json", json.dumps(facts))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is written and closed; taking torch's modules apart one by one would take another second


if __name__ == "__main__":
    main()
