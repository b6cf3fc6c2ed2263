"""The memory of a search: an Optuna study in one folder, shared by any number of processes, none of which is needed by the others.

A trial belongs to the process that holds the lock in its folder. Whoever looks for work takes up trials whose process has died before it
asks for a new one, so none is lost and none is counted twice. Optuna is imported here alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import TrialState

from inbol.config.sweeping import Axis, SearchConfig
from inbol.reporting.sweep import PointResult
from launch.points import save_points, text_of

JOURNAL = "journal.log"
NAME = "search"
KEPT = ("folder", "reason")
"""What a trial keeps beside its values: its score stage, and why it failed."""


@dataclass(slots=True)
class Taken:
    """A trial that this process works on."""

    number: int
    values: dict[str, str]
    """Value by key, as ARGS has them."""
    folder: Path
    again: bool
    """Another process had it and died."""
    trial: optuna.trial.Trial
    lock: IO[str]


class Study:
    """The study in `folder`, which is made where there is none."""

    def __init__(self, folder: Path, config: SearchConfig) -> None:
        self.folder, self.config = folder.resolve(), config  # the journal's lock does not bear a relative path
        self.held: set[int] = set()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._locked():
            path = str(self.folder / JOURNAL)
            storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
            self.study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)

    def take(self) -> Taken | None:
        """A trial to work on: one whose process has died, or a new one; None where all are told or in other hands."""
        with self._locked():
            trials = self.study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING and trial.number not in self.held and (lock := self._claim(trial.number)):
                    return self._taken(trial.number, lock, trial._trial_id)  # Optuna opens a trial that exists by this id alone
            if len(trials) >= self.config.trials:
                return None
            lock = self._claim(len(trials))
            assert lock is not None, "nobody holds the lock of a trial that is not there"
            return self._taken(len(trials), lock, None)

    def tell(self, taken: Taken, value: float | None, *, score: Path | None = None, reason: str = "") -> None:
        """End a trial: with its value, or as failed with the reason where there is none. `score`: its score stage."""
        with self._locked():
            for name, text in zip(KEPT, (str(score or ""), reason), strict=True):
                taken.trial.set_user_attr(name, text)
            if value is None:
                self.study.tell(taken.number, state=TrialState.FAIL)
            else:
                self.study.tell(taken.number, value)
            self.held.discard(taken.number)
            taken.lock.close()
            self._save()

    def told(self) -> int:
        """Trials that have ended."""
        with self._locked():
            return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))

    def _taken(self, number: int, lock: IO[str], known: int | None) -> Taken:
        """Open a trial and let the sampler fill in what it lacks; a process may have died before it had all its values."""
        self.study.sampler = sampler(self.config, number)
        trial = self.study.ask() if known is None else optuna.trial.Trial(self.study, known)
        assert trial.number == number
        values = {key: text_of(_suggest(trial, key, axis)) for key, axis in self.config.space.items()}
        self.held.add(number)
        self._save()
        return Taken(number, values, self.trial_folder(number), known is not None, trial, lock)

    def trial_folder(self, number: int) -> Path:
        """Where a trial's frozen configuration and jobs are."""
        return self.folder / f"trial-{number:03d}"

    def _save(self) -> None:
        """Write the points of `make sweep-report`, which so needs no Optuna and no lock."""
        results = []
        for trial in self.study.get_trials(deepcopy=False):
            values = {key: text_of(trial.params[key]) if key in trial.params else "" for key in self.config.space}
            kept = trial.user_attrs
            reason = "still running" if trial.state == TrialState.RUNNING else str(kept.get("reason", ""))
            folder = str(kept.get("folder") or self.trial_folder(trial.number))
            results.append(PointResult(point={"trial": str(trial.number), **values}, folder=folder, reason=reason))
        space = self.config.space
        scales = {key: "names" if axis.type == "categorical" else "log" if axis.log else "linear" for key, axis in space.items()}
        save_points(self.folder, results, axes=["trial", *space], metric=self.config.metric, columns=self.config.columns, scales=scales)

    def _claim(self, number: int) -> IO[str] | None:
        """The lock of a trial; it goes with this process, however that ends. None where another process has it."""
        self.trial_folder(number).mkdir(parents=True, exist_ok=True)
        file = (self.trial_folder(number) / ".lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the study; what a process wrote half when the machine failed is cut off, since the next line would be glued to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _mend(self.folder / JOURNAL)
            yield


def _mend(journal: Path) -> None:
    """Cut off a last line that has no end."""
    if journal.is_file() and (text := journal.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(journal, text.rfind(b"\n") + 1)


def sampler(config: SearchConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; its seed is the trial's own, so that a search that was killed draws what it would have drawn."""
    seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if config.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=config.startup)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=config.startup)


def _suggest(trial: optuna.trial.Trial, key: str, axis: Axis) -> Any:
    """A value of one key, new or as the trial has it."""
    if axis.type == "categorical":
        return trial.suggest_categorical(key, [text_of(choice) for choice in axis.choices])
    assert axis.low is not None and axis.high is not None
    if axis.type == "int":
        return trial.suggest_int(key, int(axis.low), int(axis.high), step=int(axis.step or 1), log=axis.log)
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)
