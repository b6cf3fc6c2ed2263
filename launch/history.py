"""How often a stage was started by its job, and whether that came to anything."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from inbol.shards.files import write_text
from inbol.shards.manifest import outputs

STARTS = ".starts.json"
"""In the stage's folder."""


@dataclass(slots=True)
class Start:
    """One start of a stage's processes."""

    progress: list[int]
    """What there was before: steps of the newest checkpoints, number of finished files."""
    ended: str = "lost: its node or its keeper died"
    """How it ended; what stands here until somebody says."""


@dataclass(slots=True)
class History:
    """The starts of a stage by one job, kept in the stage's folder."""

    folder: Path
    job: str = ""
    starts: list[Start] = field(default_factory=list)

    def __post_init__(self) -> None:
        path = self.folder / STARTS
        if path.is_file():
            raw = json.loads(path.read_text(encoding="utf-8"))
            self.job, self.starts = raw["job"], [Start(**one) for one in raw["starts"]]

    def of(self, job: str) -> History:
        """This history if it is of `job`, otherwise an empty one: whoever submits a stage anew gets all starts again."""
        if self.job != job:
            self.job, self.starts = job, []
        return self

    def in_vain(self, progress: list[int]) -> int:
        """Starts that found what there is now, so that none of them came any further."""
        return sum(start.progress == progress for start in self.starts)

    def save(self) -> None:
        """Write it down."""
        text = json.dumps({"job": self.job, "starts": [asdict(start) for start in self.starts]}, indent=1)
        write_text(self.folder / STARTS, text)


def progress_of(folder: Path) -> list[int]:
    """How far a stage is, as numbers that only change when it comes on: steps of its newest checkpoints, and finished files."""
    newest: dict[Path, int] = {}
    for path in folder.glob("trainer/**/checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if number.isdigit() and not path.parent.name.startswith("."):  # not one that is being written
            newest[path.parent] = max(newest.get(path.parent, 0), int(number))
    return [sum(newest.values()), sum(1 for _ in outputs(folder))]
