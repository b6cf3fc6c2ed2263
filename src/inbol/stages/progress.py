"""How a worker tells the launcher how far it is: a small file, rewritten at most twice a second."""

from __future__ import annotations

import json
import time

from inbol.shards.files import write_text
from inbol.stages.job import Job


class Progress:
    """Called with (done, total, note)."""

    def __init__(self, job: Job) -> None:
        self.path = job.out / f"progress-{job.rank}.json"
        self.last = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report; cheap enough for every step."""
        now = time.monotonic()
        if now - self.last >= 0.5 or done == total:
            self.last = now
            write_text(self.path, json.dumps({"done": done, "total": total, "note": note}))
