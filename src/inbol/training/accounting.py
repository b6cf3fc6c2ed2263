"""The account of a training: which rank trained on which place of the order at which step, and the proof that nothing was lost or doubled.

Each rank appends a line to its own file when a step is done, so a file never says more than was trained. A resume at step s cuts every
file off after s, whoever wrote it; so the account also holds over a change of the number of ranks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from inbol.shards.files import write_text
from inbol.shards.schedule import Schedule

SHOWN = 8
"""So many of what is missing or doubled are named."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one rank did in one optimiser step."""

    step: int
    """The steps done with it, from 1 on, as in `checkpoint-<step>`."""
    places: tuple[int, ...]
    """Of its trees in the step's sequence, each in [0, global batch)."""
    trees: tuple[int, ...]
    """Indices of the trees that were really collated there."""


class Ledger:
    """One rank's file of the account. Trees are noted as they are trained on, and written once their step is done."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Opens `<folder>/rank-<rank>.jsonl` for appending; `cut_off` comes first."""
        folder.mkdir(parents=True, exist_ok=True)
        self.file: TextIO = (folder / f"rank-{rank}.jsonl").open("a", encoding="utf-8")
        self.places: list[int] = []
        self.trees: list[int] = []

    def note(self, places: Sequence[int], trees: Sequence[int]) -> None:
        """A micro-batch of the current step."""
        self.places += places
        self.trees += trees

    def commit(self, step: int) -> None:
        """The optimiser has taken step `step` (from 1 on) with what was noted."""
        self.file.write(json.dumps({"step": step, "at": self.places, "trees": self.trees}, separators=(",", ":")) + "\n")
        self.file.flush()  # to the system: a killed process loses no step that it has done
        self.places, self.trees = [], []

    def sync(self) -> None:
        """To the disk; before a checkpoint that relies on it gets its name."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """The last step has been booked."""
        self.file.close()


def cut_off(folder: Path, step: int) -> None:
    """Drop what the files of all ranks say about steps after `step`. On one rank, before any `Ledger` is opened."""
    for path in sorted(folder.glob("rank-*.jsonl")):
        kept = [entry for entry in read(path) if entry.step <= step]
        write_text(path, "".join(f"{_line(entry)}\n" for entry in kept))


def read(path: Path) -> list[Entry]:
    """The entries of one rank's file. A last line without its end is what a kill leaves, and not counted.

    Raises:
        ValueError: naming file and line, for any other line that is no entry.
    """
    entries = []
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            raw = json.loads(line)
            entries.append(Entry(int(raw["step"]), tuple(map(int, raw["at"])), tuple(map(int, raw["trees"]))))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number} is no entry of a training's account: {error}") from None
    return entries


def read_all(folder: Path) -> list[Entry]:
    """The entries of all ranks."""
    return [entry for path in sorted(folder.glob("rank-*.jsonl")) for entry in read(path)]


def prove(entries: Iterable[Entry], schedule: Schedule, *, steps: int, since: int = 0) -> dict[str, Any]:
    """Show that steps `since` + 1 to `steps` took every place of the order exactly once, and so every tree exactly once per epoch (in a
    mixture, as often as its weight says).

    Two proofs, one beside the other: over places, and over trees by epoch, as the ranks noted them.

    Args:
        entries: of all ranks; those of steps up to `since` are left out.
        schedule: of the training.
        steps: that the training had.
        since: after which the account begins (a resume with changed data began a new one); 0 is the start.

    Returns:
        Facts for the manifest: `samples_per_epoch`, `epochs` (a fraction for an unfinished last one), `samples` (visits that weigh
        something), `repeats` (of weight 0, which fill an epoch's last batch), `each_once_per_epoch` (not of a mixture), and `since_step` if
        that is not 0.

    Raises:
        ValueError: an account that is not exact, with what is missing, doubled or not what stands there.
    """
    global_batch, size = schedule.global_batch, schedule.size
    first, last = since * global_batch, steps * global_batch
    counts = np.zeros(max(last - first, 0), dtype=np.int64)
    trees = np.full(len(counts), -1, dtype=np.int64)
    for entry in entries:
        if entry.step <= since:
            continue
        places = (entry.step - 1) * global_batch + np.asarray(entry.places, dtype=np.int64)
        inside = all(0 <= place < global_batch for place in entry.places)
        if entry.step > steps or not inside or len(entry.places) != len(entry.trees):
            raise ValueError(f"the account of this training is not exact: step {entry.step} of {steps} names places {list(entry.places)}")
        np.add.at(counts, places - first, 1)
        trees[places - first] = entry.trees
    expected, real = schedule.at(np.arange(first, last, dtype=np.int64))
    wrong = []
    for what, found in (
        ("lost", counts == 0),
        ("doubled", counts > 1),
        ("taken by another tree than stands there", (counts > 0) & (trees != expected)),
    ):
        if found.any():
            where = [_place(int(place) + first, int(expected[place]), global_batch) for place in np.flatnonzero(found)[:SHOWN]]
            wrong.append(f"{int(found.sum())} {what}: {', '.join(where)}{', ...' if found.sum() > SHOWN else ''}")
    if wrong:
        raise ValueError(f"the account of this training is not exact, of {len(counts)} places {'; '.join(wrong)}")
    per_epoch = schedule.steps_per_epoch
    epoch_of = np.arange(first, last) // (per_epoch * global_batch)
    for epoch in np.unique(epoch_of) if schedule.mixture is None else ():
        visits = np.bincount(trees[(epoch_of == epoch) & real], minlength=size)
        whole = since <= epoch * per_epoch and (epoch + 1) * per_epoch <= steps
        if visits.max(initial=0) > 1 or (whole and visits.min(initial=1) < 1):
            off = np.flatnonzero((visits > 1) | (whole & (visits < 1)))[:SHOWN].tolist()
            raise ValueError(f"the account of this training is not exact: epoch {epoch} did not see each of trees {off} once")
    facts = {
        "samples_per_epoch": size,
        "epochs": round((steps - since) / per_epoch, 6),
        "samples": int(real.sum()),
        "repeats": int((~real).sum()),
    }
    return facts | ({"each_once_per_epoch": True} if schedule.mixture is None else {}) | ({"since_step": since} if since else {})


def _place(place: int, tree: int, global_batch: int) -> str:
    return f"place {place} (step {place // global_batch + 1}, tree {tree})"


def _line(entry: Entry) -> str:
    return json.dumps({"step": entry.step, "at": entry.places, "trees": entry.trees}, separators=(",", ":"))
