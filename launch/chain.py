"""A chain of jobs on a cluster: its record in the run folder, and the commands `status`, `cancel` and `logs`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from inbol.config.load import ConfigError
from inbol.shards.files import write_text
from inbol.shards.manifest import is_complete
from inbol.stages.registry import STAGES
from launch import squeue
from launch.console import read_progress
from launch.history import History
from launch.jobs import last_lines

RECORD = "chain.json"
JOB = ".slurm-job"
"""In a stage's folder: the id of the job that makes it."""
POLL = 2.0
"""Seconds between looks at the queue."""
CANCEL_WAIT = 60.0
"""Seconds that cancelled jobs are given to save and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One stage of a chain."""

    name: str
    """The node's, such as `predict[sft]`."""
    stage: str
    job: str
    """Slurm's id."""
    folder: str
    shared: bool = False
    """The job belongs to another run that needs the same stage."""

    @property
    def log(self) -> Path:
        """Where the job writes to."""
        return Path(self.folder) / f"{self.stage}.log"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `make status`."""

    name: str
    job: str
    state: str
    progress: str
    note: str
    log: str


class Chain:
    """The jobs of one run; kept in its folder, so that any later command finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.links: list[Link] = []

    def add(self, link: Link) -> None:
        """Note a job, in the run's folder and in the stage's."""
        self.links.append(link)
        write_text(Path(link.folder) / JOB, link.job)
        write_text(self.folder / RECORD, json.dumps([asdict(one) for one in self.links], indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Chain:
        """The chain of a run. Raises ConfigError where there is none."""
        chain = cls(folder)
        try:
            chain.links = [Link(**entry) for entry in json.loads((folder / RECORD).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            raise ConfigError([f"{folder}: no jobs were submitted for this run; take one of those that have a {RECORD}"]) from None
        return chain

    def states(self) -> dict[str, squeue.JobState]:
        """What the controller knows of the jobs."""
        return squeue.states(link.job for link in self.links)


def live_job(folder: Path) -> str | None:
    """The job that was last submitted for a stage; whether it is over is another question."""
    path = folder / JOB
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def newest(runs_dir: Path, run: str) -> Chain:
    """The chain named `run` (a run folder, or its name), or the newest one. Raises ConfigError where there is none."""
    if run:
        folder = Path(run) if Path(run).is_dir() else runs_dir / run
        return Chain.read(folder)
    records = sorted(runs_dir.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise ConfigError([f"{runs_dir}: no run of it was submitted to Slurm; make train LAUNCHER=slurm does"])
    return Chain.read(records[-1].parent)


def rows(links: Sequence[Link], states: Mapping[str, squeue.JobState]) -> list[Row]:
    """What is known of every job: from the stage's folder, and from the queue where the folder is not complete."""
    found = []
    for link in links:
        folder = Path(link.folder)
        state, note, progress = "complete", "", ""
        if not is_complete(folder):
            now = states.get(link.job)
            state = now.state.lower() if now else "ended"
            done, total, note = read_progress(folder, shared=STAGES[link.stage].parallel == "ranks")
            progress = f"{done}/{total}" if total else ""
            if now and now.state == "PENDING" and now.reason not in ("None", "Dependency"):
                note = now.reason
            elif not (now and now.alive):
                note = last_word(folder) or note
        found.append(Row(link.name, link.job, state, progress, note, str(link.log)))
    return found


def last_word(folder: Path) -> str:
    """How the last start of a stage ended, as its keeper wrote it down; empty where none has."""
    starts = History(folder).starts
    return starts[-1].ended if starts else ""


def status(chain: Chain, out: TextIO) -> int:
    """Print the chain: stage, job, state, progress, last loss or reason, log."""
    table = rows(chain.links, chain.states())
    lines = [("stage", "job", "state", "progress", "", "log")]
    lines += [(row.name, row.job, row.state, row.progress, row.note, row.log if Path(row.log).is_file() else "-") for row in table]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    shown = ["  ".join([*(cell.ljust(width) for cell, width in zip(line[:5], widths, strict=True)), line[5]]).rstrip() for line in lines]
    done = sum(row.state == "complete" for row in table)
    out.write("\n".join([f"run {chain.folder}", *shown, f"{done} of {len(table)} stages complete", ""]))
    return 0


def cancel(chain: Chain, out: TextIO) -> int:
    """Cancel what is not over and belongs to this run, and wait until it is gone; returns 1 when something is left."""
    own = [link for link in chain.links if not link.shared]
    alive = [link.job for link in own if (now := chain.states().get(link.job)) and now.alive]
    squeue.scancel(alive)
    deadline = time.monotonic() + CANCEL_WAIT
    left = alive
    while left and time.monotonic() < deadline:
        time.sleep(0.5)
        known = squeue.states(left)
        left = [job for job in left if job in known and known[job].alive]
    out.write(f"cancelled {len(alive) - len(left)} jobs; what is saved stays, and make train goes on from it\n")
    if left:
        out.write(f"still there after {CANCEL_WAIT:.0f} s: {', '.join(left)}; see: squeue --me\n")
    return 1 if left else 0


def follow(chain: Chain, out: TextIO, *, tail: int = 10, poll: float = POLL) -> list[Row]:
    """Print what the jobs write until none of them is alive, each line behind its stage; returns the last rows.

    Args:
        chain: whose logs.
        out: where to.
        tail: lines that were written before that are shown of a stage that runs.
        poll: seconds between looks.
    """
    offsets: dict[str, int] = {}
    said: dict[str, str] = {}
    first = True
    while True:
        table = rows(chain.links, states := chain.states())
        alive = any(states[link.job].alive for link in chain.links if link.job in states)
        for link, row in zip(chain.links, table, strict=True):
            size = link.log.stat().st_size if link.log.is_file() else 0
            if first:
                offsets[link.name] = size
                for line in last_lines(link.log, tail) if row.state in ("running", "completing") else []:
                    out.write(f"{link.name}: {line}\n")
            elif size > offsets.get(link.name, 0):
                offsets[link.name] = _copy(link, offsets.get(link.name, 0), out)
            if said.get(link.name, row.state if first else "pending") != row.state:
                out.write(f"{link.name}: {row.state} {row.note}".rstrip() + "\n")
            said[link.name] = row.state
        out.flush()
        if not alive:
            return table
        first = False
        time.sleep(poll)


def _copy(link: Link, start: int, out: TextIO) -> int:
    """Print whole lines behind `start`; returns where the next ones begin."""
    with link.log.open("rb") as file:
        file.seek(start)
        data = file.read()
    end = data.rfind(b"\n") + 1
    for line in data[:end].decode(errors="replace").splitlines():
        out.write(f"{link.name}: {line}\n")
    return start + end


def command(name: str, runs_dir: Path, run: str) -> int:
    """One of the commands `status`, `cancel`, `logs`. Raises ConfigError where there is no such chain."""
    chain = newest(runs_dir, run)
    try:
        if name == "logs":
            return 0 if all(row.state == "complete" for row in follow(chain, sys.stdout)) else 1
        return {"status": status, "cancel": cancel}[name](chain, sys.stdout)
    except squeue.SlurmError as error:
        raise ConfigError([str(error)]) from None
