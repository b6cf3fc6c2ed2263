"""One stage's orders: where it reads, where it writes, with which values. Written once by the launcher, read by every rank."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from inbol.config.load import from_mapping
from inbol.config.run import TrackerConfig
from inbol.shards.files import write_text
from inbol.shards.manifest import MANIFEST, git_revision
from inbol.stages.registry import STAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Orders of one stage. `out` holds `manifest.json` exactly when the stage is complete; the launcher writes it last."""

    stage: str
    """Name in `STAGES`."""
    fingerprint: str
    out: Path
    """The stage's folder, `runs/<stage>/<fingerprint>/`; part files in it survive a kill and are taken up again."""
    inputs: dict[str, Path]
    """Completed folders by role (`vqa`, `model`, ...), as the plan names them."""
    config: Any
    """The stage's dataclass from `inbol.config.stages`."""
    tracker: TrackerConfig = field(default_factory=lambda: TrackerConfig(kind="none"))
    run_name: str = ""
    """Name of the run that asked for the stage, for the tracker."""
    rank: int = 0
    world_size: int = 1

    def save(self) -> Path:
        """Write `job.json` into the stage's folder and return its path."""
        raw = {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "inputs": {role: str(path) for role, path in self.inputs.items()},
            "config": asdict(self.config),
            "tracker": asdict(self.tracker),
            "run_name": self.run_name,
        }
        path = self.out / "job.json"
        write_text(path, json.dumps(raw, indent=1, sort_keys=True))
        return path

    def at(self, rank: int, world_size: int) -> Job:
        """The same orders as one of `world_size` processes."""
        return replace(self, rank=rank, world_size=world_size)

    def described(self) -> dict[str, Any]:
        """What a tracker is told that the stage is made with: its configuration, the code, and the sha256 of its inputs' manifests."""
        parents = {role: hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest() for role, path in self.inputs.items()}
        made = {"stage": self.stage, "fingerprint": self.fingerprint, "git_revision": git_revision() or "unknown", "manifests": parents}
        return {**asdict(self.config), "made": made}

    def share(self, names: list[str]) -> list[str]:
        """This process's part of a list of shards: every world_size-th, so each stands in exactly one share."""
        return names[self.rank :: self.world_size]


def load_job(path: Path) -> Job:
    """The orders in `job.json`. Raises ValueError when a value no longer fits its stage's configuration."""
    raw = json.loads(path.read_text())
    return Job(
        stage=raw["stage"],
        fingerprint=raw["fingerprint"],
        out=path.parent,
        inputs={role: Path(p) for role, p in raw["inputs"].items()},
        config=from_mapping(STAGES[raw["stage"]].config, raw["config"]),
        tracker=from_mapping(TrackerConfig, raw["tracker"]),
        run_name=raw["run_name"],
    )
