"""`make data-check`: reads a folder of shards from beginning to end and says what it holds."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import Progress

from inbol.config.load import ConfigError
from inbol.reporting.contact_sheet import contact_sheet
from inbol.shards.cache import ShardCache
from inbol.shards.check import check, lines
from inbol.shards.files import write_text
from inbol.shards.images import decode_image
from inbol.shards.quarantine import QUARANTINE, write_quarantine


def data_check(pattern: str, ranks: int, out: Path) -> int:
    """Check the shards of an address pattern.

    Writes `report.json`, `quarantine.jsonl` (where there is something to name) and `contact_sheet.png` into a new folder below `out`.

    Returns:
        0, or 1 when something could not be used.

    Raises:
        ConfigError: no address was given, or there are no shards.
    """
    if not pattern:
        raise ConfigError(
            ["no shards were named; for example: make data-check DATA=runs/ingest/<id>, or DATA='s3://bucket/{000..127}.tar'"]
        )
    console = Console(highlight=False, soft_wrap=True)
    pictures: list[tuple[str, Image.Image]] = []
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("")
            found = check(
                pattern,
                ShardCache.of_node(),
                report=lambda done, total, note: progress.update(task, completed=done, total=total, description=note),
                show=lambda key, image, question: pictures.append((f"{key}: {question}", decode_image(image))),
            )
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    folder = out / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.json", json.dumps({**asdict(found), "ranks": ranks}, indent=1))
    write_quarantine(folder / QUARANTINE, found.problems)
    if pictures:
        contact_sheet(pictures).save(folder / "contact_sheet.png")
    for line in lines(found, ranks):
        console.print(line, markup=False)
    console.print(f"written     {', '.join(str(path) for path in sorted(folder.iterdir()))}", markup=False)
    return 1 if found.problems else 0
