"""Slurm's own commands: what is sent to them and what they answer. The only module that knows their output."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60
"""Longest wait for an answer; a busy controller takes its time."""
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "STOPPED", "RESIZING", "SIGNALING")
"""States of a job that is not over."""
FORMAT = "%i|%T|%r"


class SlurmError(RuntimeError):
    """A command of Slurm is missing or failed; the message holds what it said."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as squeue shows it."""

    state: str
    """Such as `PENDING`."""
    reason: str
    """Why it waits or has ended; `None` where there is none."""

    @property
    def alive(self) -> bool:
        """Whether it is not over."""
        return self.state in ALIVE


def parse_states(text: str) -> dict[str, JobState]:
    """Job id -> state, of lines in `FORMAT`; others are passed over."""
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 2)
        if len(parts) == 3 and parts[0].isdigit():
            found[parts[0]] = JobState(parts[1], parts[2])
    return found


def states(ids: Iterable[str]) -> dict[str, JobState]:
    """The jobs that the controller still knows; one that ended a while ago is forgotten."""
    wanted = set(ids)
    everything = parse_states(_run(["squeue", "--me", "--noheader", "--states=all", f"--format={FORMAT}"])) if wanted else {}
    return {job: state for job, state in everything.items() if job in wanted}


def sbatch_command(script: Path | str, after: Sequence[str], behind: Sequence[str] = (), *, held: bool = False) -> list[str]:
    """The submission of a script whose job starts when those of `after` have succeeded, and is cancelled when one of them has not.

    Those of `behind` only have to be over, however they ended.
    """
    waits = [f"{kind}:{':'.join(jobs)}" for kind, jobs in (("afterok", after), ("afterany", behind)) if jobs]
    depends = [f"--dependency={','.join(waits)}", *(["--kill-on-invalid-dep=yes"] if after else [])] if waits else []
    return ["sbatch", "--parsable", *(["--hold"] if held else []), *depends, str(script)]


def sbatch(script: Path, after: Sequence[str], behind: Sequence[str] = (), *, held: bool) -> str:
    """Submit; returns the job's id."""
    return _run(sbatch_command(script, after, behind, held=held)).strip().split(";")[0]


def release(ids: Sequence[str]) -> None:
    """Let jobs that were submitted held go."""
    if ids:
        _run(["scontrol", "release", ",".join(ids)])


def scancel(ids: Sequence[str]) -> None:
    """Cancel jobs; those that are over are no mistake."""
    if ids:
        _run(["scancel", "--quiet", *ids])


def requeue(job: str) -> None:
    """Put a running job back into the queue; this ends it."""
    _run(["scontrol", "requeue", job])


def restarts(job: str) -> tuple[str, int]:
    """(state, how often it was started again) of a job, as the controller has it now."""
    facts = parse_job(_run(["scontrol", "--oneliner", "show", "job", job]))
    return facts.get("JobState", ""), int(facts.get("Restarts", "0"))


def parse_job(text: str) -> dict[str, str]:
    """The `Name=value` words of `scontrol --oneliner show job`; a value that holds a space loses what follows it."""
    return {name: value for name, equal, value in (word.partition("=") for word in text.split()) if equal}


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    if shutil.which(command[0]) is None:
        raise SlurmError(f"{command[0]} was not found: launcher=slurm needs a machine from which jobs can be submitted")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=env)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} did not answer within {SECONDS} s") from None
    if done.returncode:
        raise SlurmError(f"{' '.join(command)}: {done.stderr.strip() or f'ended with code {done.returncode}'}")
    return done.stdout
