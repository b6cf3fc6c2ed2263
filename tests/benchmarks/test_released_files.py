"""Counts of released files that cannot be shipped, for whoever has them.

    RELEASED_FILES=/data python -m pytest tests/benchmarks/test_released_files.py

The folder holds `mub/` (allmislead_gpt6_all.jsonl anywhere below), `clamber/clamber_benchmark.jsonl` and
`vqav2-idk/VQAv2-IDK-val.json`; what is missing is skipped with its name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inbol.benchmarks.clamber import FILE, PUBLISHED, counts, read_records
from inbol.benchmarks.mub_files import read_folder
from inbol.sources.published import Options, Part
from inbol.sources.vqav2_idk import VqaV2Idk

pytestmark = pytest.mark.skipif("RELEASED_FILES" not in os.environ, reason="RELEASED_FILES names no folder with the released files")


def need(*names: str) -> Path:
    path = Path(os.environ["RELEASED_FILES"], *names)
    if not path.exists():
        pytest.skip(f"RELEASED_FILES has no {path.name}: {path}")
    return path


def test_mub() -> None:
    """447 records of which 55 are distinct, as in the copy with its letters blotted out (test_mub_files.py)."""
    reading = read_folder(need("mub"))
    note = "allmislead_gpt6_all.jsonl: 447 records, 55 of them new by (question, new_id); TRUNCATED, the last 992 bytes"
    assert any(said.startswith(note) for said in reading.notes), reading.notes


def test_clamber() -> None:
    """3,202 records behind two decodings, by category and subclass."""
    assert counts(read_records(need("clamber", FILE))) == PUBLISHED
    assert sum(map(sum, PUBLISHED.values())) == 3202


def test_vqav2_idk() -> None:
    """6,624 questions, 5,496 images; beyond the image by 1, 2, 3, 5 annotators: all, 1,566, 633, 177; "none" aside 4,582, 546, 87, 3."""
    idk = VqaV2Idk()
    part = Part(annotations=need("vqav2-idk", "VQAv2-IDK-val.json"), questions=None, images=Path())
    rows = [raw for _, raw in idk.rows(part)]
    assert len(rows) == 6624 and len({raw["image"] for raw in rows}) == 5496
    for not_idk, expected in (((), (6624, 1566, 633, 177)), (("none",), (4582, 546, 87, 3))):
        for least, count in zip((1, 2, 3, 5), expected, strict=True):
            asked = [idk.question(raw, Options(min_idk=least, not_idk=not_idk)) for raw in rows]
            assert sum(not isinstance(one, str) and not one.answers for one in asked) == count, (not_idk, least)
