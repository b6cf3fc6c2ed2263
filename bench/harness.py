"""Measuring and recording: sides take turns, medians and spread, one JSON file a result, one table of them all.

Sides take turns step by step, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
PACKAGES = ("torch", "transformers", "trl", "peft")

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` counts this process's seconds alone: the same as `wall` with one thread on an idle machine, and nearly that on a busy one."""

Side = Callable[[], object]
"""What is timed: one step of one side."""
Times = Mapping[str, float]
"""Seconds by side, of one turn each."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A result to be read off a case's times."""

    name: str
    """Name of the file and of the table's row."""
    unit: str
    ours: Callable[[Times], float]
    """Times -> our value in `unit`; more is better."""
    peer: Callable[[Times], float]
    """Times -> the peer's value in `unit`."""
    floor: Callable[[Times], float]
    """Times -> our time / the floor's time."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A case after warm-up and its checks: what takes turns, and what is read off."""

    sides: dict[str, Side]
    measures: tuple[Measure, ...]
    peer: str
    """Who we are compared with, with the settings that were found best."""
    peer_package: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One line of the table, one file."""

    name: str
    peer: str
    peer_version: str
    unit: str
    ours: float
    """Median, in `unit`."""
    peer_value: float
    """Median, in `unit`."""
    ratio: float
    """`ours` / `peer_value`."""
    floor_ratio: float
    """Median time of ours / median time of the floor."""
    repetitions: int
    spread: float
    """Interquartile range / median of the ratio of single repetitions."""
    command: str
    versions: dict[str, str]
    cpu: str


def take_turns(sides: Mapping[str, Side], repetitions: int, clock: str = "wall") -> list[dict[str, float]]:
    """Seconds by side, a dictionary a repetition; every side runs once before the first, and every second repetition goes backwards, so
    that no side always follows the same other.

    Raises:
        ValueError: fewer than two repetitions, which have no spread.
    """
    if repetitions < 2:
        raise ValueError(f"repetitions: {repetitions} is below 2, the fewest that have a spread")
    for side in sides.values():
        side()
    turns = []
    for number in range(repetitions):
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        turns.append({name: seconds(sides[name], clock) for name in names})
    return turns


def seconds(side: Side, clock: str = "wall") -> float:
    """Seconds of one call, by one of `CLOCKS`."""
    now = CLOCKS[clock]
    start = now()
    side()
    return now() - start


def spread(values: Iterable[float]) -> float:
    """Interquartile range / median, quartiles as in `statistics.quantiles(method="inclusive")`."""
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return (third - first) / median


def summarise(prepared: Prepared, turns: list[dict[str, float]], command: str) -> list[Result]:
    """Medians over the repetitions of each side's time, and what they amount to."""
    median = {name: statistics.median(turn[name] for turn in turns) for name in prepared.sides}
    return [
        Result(
            name=measure.name,
            peer=prepared.peer,
            peer_version=version(prepared.peer_package),
            unit=measure.unit,
            ours=round(measure.ours(median), 4),
            peer_value=round(measure.peer(median), 4),
            ratio=round(measure.ours(median) / measure.peer(median), 3),
            floor_ratio=round(measure.floor(median), 3),
            repetitions=len(turns),
            spread=round(spread(measure.ours(turn) / measure.peer(turn) for turn in turns), 3),
            command=command,
            versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            cpu=cpu(),
        )
        for measure in prepared.measures
    ]


def cpu() -> str:
    """Name of the processor, and the threads that torch was given."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def write(result: Result, folder: Path = RESULTS) -> None:
    """`<folder>/<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.name}.json").write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")


def read(folder: Path = RESULTS) -> list[Result]:
    """Every result of a folder, by name."""
    return [Result(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*.json"))]


def table(results: Iterable[Result]) -> str:
    """Markdown, one row a result."""
    lines = [
        "| benchmark | unit | ours | peer | peer's value | ratio | spread | ours / floor | n |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| `{r.name}` | {r.unit} | {r.ours:.3g} | {r.peer} {r.peer_version} | {r.peer_value:.3g} | **{r.ratio:.2f}** "
        f"| {r.spread:.0%} | {r.floor_ratio:.2f} | {r.repetitions} |"
        for r in results
    ]
    return "\n".join(lines)


def render(page: str, results: list[Result]) -> str:
    """The page with the table of `results` between its markers, and where they come from below it.

    Raises:
        ValueError: the page has no markers.
    """
    if BEGIN not in page or END not in page.partition(BEGIN)[2]:
        raise ValueError(f"the page lacks the markers {BEGIN} and {END} that the table goes between")
    head, _, rest = page.partition(BEGIN)
    machines = sorted({f"{r.cpu}; " + ", ".join(f"{name} {number}" for name, number in r.versions.items()) for r in results})
    body = "\n\n".join([table(results), "\n".join(f"Measured on: {machine}." for machine in machines)]) if results else "No results yet."
    return f"{head}{BEGIN}\n\n{body}\n\n{END}{rest.partition(END)[2]}"
