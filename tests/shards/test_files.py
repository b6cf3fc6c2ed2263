"""Files are whole or absent, also when the disk is full; records say which line is wrong."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbol.contracts import ReferenceLogps
from inbol.shards.files import read_records, write_bytes, write_records


@pytest.fixture
def small_disk() -> Iterator[int]:
    """The kernel refuses to write files beyond 64 KiB, as a full disk would refuse; the limit is lifted afterwards."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the default would end the process instead of failing the call
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    yield 65536
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_fails_leaves_neither_the_file_nor_a_part_of_it(tmp_path: Path, small_disk: int) -> None:
    write_bytes(tmp_path / "fits", b"x" * small_disk)
    with pytest.raises(OSError, match="File too large"):
        write_bytes(tmp_path / "large", b"x" * (small_disk + 1))
    assert [path.name for path in tmp_path.iterdir()] == ["fits"]


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path, small_disk: int) -> None:
    write_bytes(tmp_path / "file", b"before")
    with pytest.raises(OSError, match="File too large"):
        write_bytes(tmp_path / "file", b"x" * (small_disk + 1))
    assert (tmp_path / "file").read_bytes() == b"before"


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = [ReferenceLogps(key=f"q{n}", chosen=-1.5 * n, rejected=-2.0) for n in range(3)]
    assert write_records(tmp_path / "a.jsonl", records) == 3
    assert read_records(tmp_path / "a.jsonl", ReferenceLogps) == records


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"key": "q", "chosen": -1.0, "reje', "not valid JSON for ReferenceLogps"),
        ('{"key": "q", "chosen": -1.0}', "ReferenceLogps lacks rejected"),
        ('{"key": "q", "chosen": -1.0, "rejected": 0.0, "extra": 1}', "ReferenceLogps has no field extra"),
        ("[1]", "must be a JSON object, got list"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"key": "q", "chosen": -1.0, "rejected": -2.0}\n' + line + "\n")
    with pytest.raises(ValueError, match=rf"a\.jsonl:2: .*{said}"):
        read_records(path, ReferenceLogps)
