"""What a job of the cluster runs on its first node: `python -m launch.keeper <job.json> --world N ... -- srun ...`.

It starts the stage's processes with the line behind `--`, passes Slurm's notice on to them, and decides what becomes of the job when they
have ended: complete, queued again, or failed with the reason after too many starts without progress. Slurm itself queues a job again
whose node is lost; then the count of starts is all that this module adds.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType

from inbol.interrupt import LISTEN
from inbol.shards.manifest import is_complete
from inbol.stages.job import Job, load_job
from inbol.stages.registry import STAGES
from launch import squeue
from launch.console import Screen
from launch.history import History, Start, progress_of
from launch.jobs import clear, complete, merge_facts, reports
from launch.local import locked
from launch.processes import stage_environment

AGAIN = 5.0
"""Seconds after which processes that were told to stop are told again: one that was just starting did not hear it."""


class Keeper:
    """Keeps one stage's processes for one job."""

    def __init__(self, job: Job, *, world: int, threads: int, starts: int, command: Sequence[str]) -> None:
        """`starts`: so many without progress are enough. `command`: starts all processes of the stage and ends with them."""
        self.job, self.world, self.threads, self.starts, self.command = job, world, threads, starts, command
        self.id, self.restart = os.environ["SLURM_JOB_ID"], int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.asked = False

    def run(self) -> int:
        """Bring the stage as far as this start goes; returns the job's exit code."""
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._ask)
        with locked(self.job.out, Screen()):
            if is_complete(self.job.out):
                say("complete already")
                return 0
            history = History(self.job.out).of(self.id)
            if (vain := history.in_vain(progress_of(self.job.out))) >= self.starts:
                return self._give_up(history, vain)
            history.starts.append(Start(progress_of(self.job.out)))
            history.save()
            say(f"start {len(history.starts)} of job {self.id}, {self.world} processes")
            clear(self.job)
            began = time.monotonic()
            code = self._wait()
            history.starts[-1].ended = ended = self._finish(code, time.monotonic() - began)
            history.save()
            if not ended:
                return 0
            say(ended)
            return self._next(history)

    def _wait(self) -> int:
        """Run the processes; returns their code. What they are told is repeated until they have ended."""
        env = stage_environment(self.threads)
        env[LISTEN] = "1"
        env["MASTER_PORT"] = str(20000 + (int(self.id) * 7 + self.restart) % 10000)  # two jobs may meet on a node
        child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, env=env)
        told = 0.0
        while (code := child.poll()) is None:
            if self.asked and time.monotonic() - told > AGAIN:
                told = time.monotonic()
                child.send_signal(signal.SIGUSR1)
            time.sleep(0.1)
        return code

    def _finish(self, code: int, seconds: float) -> str:
        """Complete the stage if all is there; otherwise how it ended."""
        facts = reports(self.job, self.world)
        stopped = sorted({str(report["stopped"]) for report in facts if "stopped" in report})
        if stopped:
            return f"told to stop, saved at {', '.join(stopped)}"
        if code or len(facts) < self.world:
            missing = [rank for rank in range(self.world) if not (self.job.out / f"facts-{rank}.json").is_file()]
            return f"ended with code {code}; no report from ranks {missing}"
        spec = STAGES[self.job.stage]
        merged = facts[0] if spec.parallel == "inline" else merge_facts(facts, summed=spec.parallel == "shards")
        complete(self.job, merged, seconds=seconds, world_size=self.world)
        say(f"complete after {seconds:.1f} s")
        return ""

    def _next(self, history: History) -> int:
        """What becomes of a job whose stage is not complete."""
        try:
            state, restart = squeue.restarts(self.id)
            if state != "RUNNING" or restart != self.restart:  # cancelled, over, or running elsewhere since this node was lost
                say(f"not queued again: the job is {state.lower() or 'unknown'}, started again {restart} times")
                return 1
            if (vain := history.in_vain(progress_of(self.job.out))) >= self.starts:
                return self._give_up(history, vain)
            say("queued again")
            squeue.requeue(self.id)
        except squeue.SlurmError as error:
            say(f"could not be queued again: {error}; make train goes on from here")
            return 1
        return 0

    def _give_up(self, history: History, vain: int) -> int:
        say(f"stopped: {vain} starts without progress; the last one: {history.starts[-1].ended}")
        history.starts[-1].ended = f"stopped after {vain} starts without progress: {history.starts[-1].ended}"
        history.save()
        return 1

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def say(text: str) -> None:
    """A line in the stage's log."""
    sys.stdout.write(f"[keeper {datetime.now():%H:%M:%S}] {text}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the arguments and keep the stage."""
    parser = argparse.ArgumentParser(prog="python -m launch.keeper", description="Runs on the first node of a stage's job.")
    parser.add_argument("job", type=Path)
    parser.add_argument("--world", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--starts", type=int, required=True)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    keeper = Keeper(load_job(args.job), world=args.world, threads=args.threads, starts=args.starts, command=args.command)
    return keeper.run()


if __name__ == "__main__":
    raise SystemExit(main())
