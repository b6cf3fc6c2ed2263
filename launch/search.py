"""`make sweep SWEEP=optuna-...`: points that Optuna chooses, each in the light of those before it; the same command goes on after any end.

The study has a folder of its own, named after everything that decides its numbers. Stages are content-addressed, so a trial that is taken
up again finds what was finished, and only tells its value where all was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from inbol.config.load import ConfigError
from inbol.config.run import RunConfig
from inbol.config.sweeping import Axis, SearchConfig
from inbol.shards.manifest import is_complete
from inbol.stages.__main__ import WATCH, end_with_launcher
from launch import squeue
from launch.chain import RECORD, Chain, last_word
from launch.console import Screen
from launch.jobs import StageFailed
from launch.local import run_nodes
from launch.plan import Node
from launch.points import POINTS, PlannedPoint, numbers_of, plan_point, report, run_point, text_of
from launch.processes import accelerators, run_together
from launch.runs import freeze
from launch.slurm import submit

if TYPE_CHECKING:
    from launch.study import Study, Taken

POLL = 2.0
"""Seconds between looks at the queue."""
LOST = 3
"""Looks in a row at which no job of a trial is alive and its score is not there, before it counts as failed: file systems lag behind."""
WORKERS = "workers.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search is, before anything is run."""

    config: SearchConfig
    args: argparse.Namespace
    overrides: list[str]
    """Those that are not varied."""
    corners: list[PlannedPoint]
    """Points that take every key to its ends, or through its choices, one key at a time."""

    @property
    def run(self) -> RunConfig:
        """Of the first corner; what concerns launching is the same in all points."""
        return self.corners[0].run

    @property
    def shared(self) -> list[Node]:
        """Stages that all corners have in common, inputs first."""
        common = set.intersection(*({node.folder for node in point.nodes} for point in self.corners))
        return [node for node in self.corners[0].nodes if node.folder in common]

    @property
    def folder(self) -> Path:
        """Named after what decides the numbers: the corners' fingerprints, the space and the sampler; not how many trials, or where."""
        config, args = asdict(self.config), self.args
        decides = {name: config[name] for name in ("space", "sampler", "startup", "seed", "metric")}
        whole = json.dumps([decides, [point.score.fingerprint for point in self.corners]], sort_keys=True)
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        return Path(self.run.runs_dir) / f"study-{args.recipe}-{args.scale}-{args.sweep}-{digest}"

    def point(self, values: Mapping[str, str]) -> PlannedPoint:
        """Plan one point. Raises ConfigError."""
        return plan_point(self.args.recipe, self.args.scale, self.overrides, values)


def plan_search(config: SearchConfig, args: argparse.Namespace, overrides: list[str]) -> Search:
    """Check the space at its corners. Raises ConfigError with the mistakes of all of them, each named once."""
    if not config.space:
        raise ConfigError(["sweep.space: nothing is varied; ARGS hold every key of it"])
    values = {key: _ends(axis) for key, axis in config.space.items()}
    first = {key: found[0] for key, found in values.items()}
    corners, errors = [], dict[str, None]()
    for chosen in [first, *({**first, key: value} for key, found in values.items() for value in found[1:])]:
        try:
            corners.append(plan_point(args.recipe, args.scale, overrides, chosen))
        except ConfigError as error:
            errors.update(dict.fromkeys(error.errors))
    if errors:
        raise ConfigError(list(errors))
    return Search(config=config, args=args, overrides=overrides, corners=corners)


def run_search(args: argparse.Namespace, config: SearchConfig, overrides: list[str]) -> int:
    """The command `sweep` for a file with a `space`; returns 1 when a trial failed."""
    if args.worker:
        end_with_launcher()
    search = plan_search(config, args, overrides)
    if args.dry:
        return _show(search)
    study = open_study(search.folder, config)
    screen = Screen(None if args.worker else search.folder / "train.log")
    if args.worker:
        _work(search, study, screen)
        return 0
    screen.say(f"search over {', '.join(config.space)}: {study.told()} of {config.trials} trials told; folder {search.folder}")
    freeze(search.folder, search.run, search.corners[0].texts, "resolved/corner.yaml")
    if search.run.launcher.kind == "slurm":
        _check_names(search)
        _keep_jobs(search, study, screen)
    else:
        devices = _devices(search)
        run_nodes([(node, search.run) for node in search.shared], search.folder.name, screen)
        _check_names(search)
        if config.parallel == 1:
            _work(search, study, screen)
        else:
            _start_workers(search, devices, screen)
    return report(search.folder, screen) if (search.folder / POINTS).is_file() else 0


def open_study(folder: Path, config: SearchConfig) -> Study:
    """The study in `folder`. Raises ConfigError where Optuna, or the sampler's package, is not installed."""
    try:
        from launch.study import Study

        if config.sampler == "cmaes":
            import cmaes  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            [f"sweep: a search needs packages that do not import ({error}); pip install 'inbol-recipes[search]', or take a grid"]
        ) from None
    return Study(folder, config)


def _work(search: Search, study: Study, screen: Screen) -> None:
    """Take trials on this machine, one after the other, until there are no more to take."""
    done: set[Path] = {node.folder for node in search.shared if is_complete(node.folder)}
    failed: dict[Path, str] = {}
    while taken := study.take():
        point = _opened(search, study, taken, screen)
        if point is not None:
            result = run_point(point, search.folder.name, screen, done, failed)
            _tell(search, study, taken, point, result.reason, screen)


def _opened(search: Search, study: Study, taken: Taken, screen: Screen) -> PlannedPoint | None:
    """The point of a trial, whose configuration is frozen; None where the configuration refuses it, which ends the trial."""
    texts = [f"{key}={value}" for key, value in taken.values.items()]
    screen.say(f"trial {taken.number}: {' '.join(texts)}{' (taken up again)' if taken.again else ''}")
    try:
        point = search.point(taken.values)
    except ConfigError as error:
        reason = "; ".join(error.errors)
        screen.say(f"  refused: {reason}")
        study.tell(taken, None, reason=reason)
        return None
    freeze(taken.folder, point.run, texts)
    return point


def _tell(search: Search, study: Study, taken: Taken, point: PlannedPoint, reason: str, screen: Screen) -> None:
    """End a trial with its number, or with the reason why it has none. Raises ConfigError for a metric that scores do not have."""
    value, metric = None, search.config.metric
    if not reason:
        (read,) = numbers_of([asdict(point.result())], [metric, *search.config.columns])
        value = None if read.values is None else read.values[metric]["value"]
        reason = "" if value is not None else f"{metric} is n/a: none of its questions is in align-val"
    study.tell(taken, value, score=point.score.folder, reason=reason)
    screen.say(f"trial {taken.number}: {metric} {value:.4f}" if value is not None else f"trial {taken.number} failed: {reason}")


def _check_names(search: Search) -> None:
    """Refuse a metric that no score has as soon as there is one, before the first trial is paid for."""
    scored = next((node for node in search.shared if node.stage == "score" and is_complete(node.folder)), None)
    if scored is not None:
        wanted = [search.config.metric, *search.config.columns]
        numbers_of([{"point": {}, "folder": str(scored.folder), "reason": ""}], wanted)


# Several points at a time on this machine: so many workers, each of which is this command.


def _devices(search: Search) -> list[list[str]]:
    """Accelerators of each worker; empty lists where there are none. Raises ConfigError when there are too few."""
    ranks, parallel, found = search.run.launcher.ranks, search.config.parallel, accelerators()
    if parallel > 1 and search.run.launcher.nodes > 1:
        raise ConfigError([f"sweep.parallel: {parallel} points would share the same machines; take 1, or launcher=slurm"])
    if parallel > 1 and found and len(found) < ranks * parallel:
        needed = f"{parallel} points of launcher.ranks={ranks} processes need {ranks * parallel} accelerators"
        raise ConfigError([f"sweep.parallel: {needed}; {len(found)} are visible"])
    return [found[number * ranks : (number + 1) * ranks] for number in range(parallel)]


def _start_workers(search: Search, devices: Sequence[Sequence[str]], screen: Screen) -> None:
    """Run so many workers side by side until they find nothing to take. Raises StageFailed when one breaks."""
    args, log = search.args, search.folder / WORKERS
    chosen = ["--recipe", args.recipe, "--sweep", args.sweep, "--scale", args.scale]
    command = [sys.executable, "-m", "launch", "sweep", *chosen, "--worker", "--", *args.overrides]
    base = {**os.environ, WATCH: "1", "PYTHONUNBUFFERED": "1"}
    environments = [{**base, **({"CUDA_VISIBLE_DEVICES": ",".join(own)} if own else {})} for own in devices]
    with _shown(log, screen):
        code = run_together([command] * len(devices), environments, log)
    if code:
        raise StageFailed(f"a worker of the search ended with code {code}\nlog: {log}")


@contextmanager
def _shown(log: Path, screen: Screen) -> Iterator[None]:
    """Print what the workers write, line by line."""
    ended = threading.Event()
    start = log.stat().st_size if log.is_file() else 0

    def copy() -> None:
        with log.open(errors="replace") as file:
            file.seek(start)
            last = False
            while not last:
                last = ended.wait(POLL / 2)  # what was written before the end is still printed
                for line in file:
                    screen.say(line.rstrip("\n"))

    log.touch()
    thread = threading.Thread(target=copy, name="workers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# Several points at a time as chains of Slurm jobs: this process asks, submits, waits and tells.


@dataclass(slots=True)
class _Flight:
    taken: Taken
    point: PlannedPoint
    chain: Chain
    looks: int = 0
    """At which nothing of it was alive."""


def _keep_jobs(search: Search, study: Study, screen: Screen) -> None:
    """Keep so many trials in the queue until all are told. Raises StageFailed for a failure that all trials share."""
    flights: list[_Flight] = []
    try:
        while True:
            flights = [flight for flight in flights if not _landed(search, study, flight, screen)]
            while len(flights) < search.config.parallel and (taken := study.take()):
                point = _opened(search, study, taken, screen)
                if point is not None:
                    flights.append(_Flight(taken, point, _chain(point, taken, screen)))
            if not flights:
                return
            time.sleep(POLL)
    except KeyboardInterrupt:
        screen.say(f"the jobs go on, and the same command goes on with them; make cancel RUN={search.folder.name}/trial-... ends a trial's")
        raise


def _chain(point: PlannedPoint, taken: Taken, screen: Screen) -> Chain:
    """The jobs of a trial: those that an earlier process submitted where one of them lives, new ones otherwise."""
    if (taken.folder / RECORD).is_file():
        chain = Chain.read(taken.folder)
        if _alive(chain):
            return chain
    return submit(point.nodes, point.run, taken.folder, screen)


def _alive(chain: Chain) -> bool:
    """Whether a job is not over. Raises StageFailed when Slurm does not answer: no trial is told for that."""
    try:
        return any(state.alive for state in chain.states().values())
    except squeue.SlurmError as error:
        raise StageFailed(str(error)) from None


def _landed(search: Search, study: Study, flight: _Flight, screen: Screen) -> bool:
    """Whether a trial has ended, which is then told."""
    alive = _alive(flight.chain)
    if is_complete(flight.point.score.folder) and not alive:
        _tell(search, study, flight.taken, flight.point, "", screen)
        return True
    flight.looks = 0 if alive else flight.looks + 1
    if flight.looks < LOST:
        return False
    broken = next(node for node in flight.point.nodes if not is_complete(node.folder))
    reason = f"{broken.name} failed: {last_word(broken.folder) or 'its job is over'}"
    if broken.folder in {node.folder for node in search.shared}:
        raise StageFailed(f"{reason}; every trial needs it\nfolder: {broken.folder}")
    _tell(search, study, flight.taken, flight.point, reason, screen)
    return True


def _ends(axis: Axis) -> list[str]:
    """What a key is tried with before anything starts: its ends, or all its choices."""
    if axis.type == "categorical":
        return [text_of(choice) for choice in axis.choices]
    ends: list[Any] = [axis.low, axis.high]
    return [text_of(int(end) if axis.type == "int" else end) for end in ends]


def _show(search: Search) -> int:
    console = Console(highlight=False, soft_wrap=True)
    shared = search.shared
    folders = {node.folder for node in shared}
    for key, axis in search.config.space.items():
        console.print(f"{key}: {', '.join(_ends(axis)) if axis.type == 'categorical' else ' to '.join(_ends(axis))}", markup=False)
    todo = [node.name for node in shared if not is_complete(node.folder)]
    console.print(f"{len(todo)} of {len(shared)} stages that all trials share to run: {', '.join(todo)}", markup=False)
    own = [node.name for node in search.corners[0].nodes if node.folder not in folders]
    console.print(f"each trial of its own: {', '.join(own)}", markup=False)
    console.print(f"{search.config.trials} trials, {search.config.parallel} at a time; folder {search.folder}", markup=False)
    return 0
