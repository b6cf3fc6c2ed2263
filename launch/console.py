"""What the user sees: one line per stage, a progress bar while it runs, and the same lines in `train.log`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

POLL = 0.5
"""Seconds between looks at the progress files."""
QUIET = 30.0
"""Seconds between progress lines where the output is not a terminal."""


class Screen:
    """The terminal and the log file of one run."""

    def __init__(self, log: Path | None = None) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.log = log

    def say(self, text: str = "", style: str | None = None) -> None:
        """Print a line, and keep it in the log with the time."""
        self.console.print(text, style=style, markup=False)
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now():%H:%M:%S} {text}\n")

    def table(self, markdown: str) -> None:
        """Print a Markdown page; as it is where the output is not a terminal."""
        if self.console.is_terminal:
            self.console.print(Markdown(markdown), soft_wrap=False)
        else:
            self.console.print(markdown, markup=False)

    @contextmanager
    def progress(self, name: str, folder: Path, *, shared: bool) -> Iterator[None]:
        """A bar that follows the `progress-<rank>.json` files in `folder`.

        Args:
            name: what is running.
            folder: the stage's folder.
            shared: the ranks work on one thing together, so rank 0 speaks for all; otherwise their counts are added.
        """
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console, transient=True)
        ended = threading.Event()
        terminal = self.console.is_terminal
        task = bar.add_task(name, total=None, note="")

        def follow() -> None:
            last = time.monotonic()
            while not ended.wait(POLL):
                done, total, note = read_progress(folder, shared=shared)
                bar.update(task, completed=done, total=total or None, note=note)
                if not terminal and total and time.monotonic() - last > QUIET:
                    last = time.monotonic()
                    self.say(f"        {name}: {done} of {total} {note}".rstrip())

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        if terminal:
            bar.start()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if terminal:
                bar.stop()


def read_progress(folder: Path, *, shared: bool) -> tuple[int, int, str]:
    """(done, total, note) over all ranks; see `Screen.progress`."""
    reports = []
    for path in sorted(folder.glob("progress-*.json")):
        try:
            report = json.loads(path.read_text())
            reports.append((int(report["done"]), int(report["total"]), str(report.get("note", ""))))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # gone or foreign; the next look will tell
    if not reports:
        return 0, 0, ""
    if shared:
        return reports[0]
    return sum(r[0] for r in reports), sum(r[1] for r in reports), reports[0][2]


def brief(facts: Mapping[str, Any], limit: int = 110) -> str:
    """The facts of a manifest in one line: numbers and words as they are, counts by group as their sum, lists left out."""
    line = ""
    for part in _parts(facts):
        if len(line) + len(part) + 2 > limit:
            break
        line = f"{line}, {part}" if line else part
    return line


def _parts(facts: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`name value` of every fact; a sum of counts that has been shown already is not shown again."""
    parts: list[str] = []
    sums: set[int] = {value for value in facts.values() if isinstance(value, int)}
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping) and value and all(isinstance(count, int) for count in value.values()):
            total = sum(value.values())
            if total not in sums:
                parts.append(f"{name} {total}")
            sums.add(total)
        elif isinstance(value, Mapping) and not prefix:
            parts += _parts(value, f"{name} ")
        elif isinstance(value, float):
            parts.append(f"{name} {value:.4g}")
        elif isinstance(value, (int, str)) and len(str(value)) <= 40:
            parts.append(f"{name} {value}")
    return parts
