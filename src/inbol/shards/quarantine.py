"""What could not be used: counted, named in `quarantine.jsonl` with shard, offset and reason, and tolerated up to a stated share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from inbol.shards.files import write_text
from inbol.shards.tar import Problem

QUARANTINE = "quarantine.jsonl"
SHOWN = 10
"""Problems listed in the error message; the others are in the file."""


class TooManyBad(ValueError):
    """More than the stated share of the data could not be used."""


def check_share(problems: Iterable[Problem], *, total: int, share: float, where: Path) -> None:
    """Refuse data of which too much is bad.

    Args:
        problems: what could not be used.
        total: samples met, the bad ones included.
        share: tolerated share, in [0, 1]; 0 tolerates none.
        where: the quarantine file, for the message.

    Raises:
        TooManyBad: there are more than `share` x `total` problems, or a shard could not be read to its end and `share` is 0.
    """
    listed = list(problems)
    if len(listed) <= share * total:
        return
    lines = [f"  {p.shard} at byte {p.offset}" + (f", sample {p.key!r}" if p.key else "") + f": {p.reason}" for p in listed[:SHOWN]]
    more = f"\n  ... and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    raise TooManyBad(
        f"{len(listed)} of {total} samples could not be used, and source.max_bad_share={share:g} tolerates {int(share * total)}; "
        f"all are listed in {where}:\n" + "\n".join(lines) + more
    )


def write_quarantine(path: Path, problems: Iterable[Problem]) -> None:
    """Write the problems as JSON-Lines, atomically; no file when there are none."""
    lines = [json.dumps(asdict(problem), sort_keys=True, ensure_ascii=False) for problem in problems]
    if lines:
        write_text(path, "".join(line + "\n" for line in lines))
    else:
        path.unlink(missing_ok=True)


def read_quarantine(path: Path) -> list[Problem]:
    """The problems in a file, none where there is none."""
    if not path.exists():
        return []
    return [Problem(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
