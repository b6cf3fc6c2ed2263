"""What a tar holds and what is wrong with it, before anything is read from it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from small_shards import foreign, write_tar

from inbol.shards.tar import Entry, Place, Problem, read_at, scan, split_name


def _scan(path: Path) -> list[Entry | Problem]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(scan(fd, path.name))
    finally:
        os.close(fd)


def test_samples_and_their_places(tmp_path: Path) -> None:
    """Header 512, 3 bytes padded to 512, header 512: the second member's bytes begin at 1536."""
    path = tmp_path / "a.tar"
    write_tar(path, [("a.png", b"xyz"), ("a.JSON", b"{}"), ("d/b.seg.png", b"")])
    assert _scan(path) == [Entry("a", {"png": Place(512, 3), "json": Place(1536, 2)}), Entry("d/b", {"seg.png": Place(2560, 0)})]
    with path.open("rb") as file:
        assert read_at(file.fileno(), Place(512, 3)) == b"xyz"
        with pytest.raises(ValueError, match=r"cut off: \d+ of 1000000 bytes"):
            read_at(file.fileno(), Place(512, 10**6))


def test_names_are_split_as_webdataset_splits_them() -> None:
    assert split_name("a/b.c.png") == ("a/b", "c.png")
    assert split_name("a.b/c.png") == ("a.b/c", "png")
    assert split_name("none") == ("none", "")


def test_a_key_that_comes_again_is_a_problem_and_the_first_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, foreign(["a", "b", "a"]))
    first, second, problem = _scan(path)
    assert [first.key, second.key] == ["a", "b"]
    assert isinstance(problem, Problem)
    assert (problem.key, problem.reason, problem.fatal) == ("a", "a sample with this key came before", False)
    with path.open("rb") as file:
        file.seek(problem.offset)
        assert file.read(4) == b"\x89PNG"  # where the quarantine says that it is


def test_a_member_that_occurs_twice_spoils_its_sample_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, [("a.png", b"1"), ("a.png", b"2"), ("a.json", b"{}"), ("b.png", b"3")])
    problem, entry = _scan(path)
    assert isinstance(problem, Problem)
    assert problem.reason == "member .png occurs twice"
    assert entry.key == "b"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_what_is_no_plain_file_is_not_taken(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/hostname"
        tar.addfile(info)
    found = _scan(path)
    assert found
    assert all(isinstance(item, Problem) for item in found)


def test_a_member_larger_than_the_limit_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbol.shards.tar.MAX_JSON_BYTES", 10)
    path = tmp_path / "a.tar"
    write_tar(path, [("a.json", b"x" * 11), ("b.json", b"x" * 10)])
    problem, entry = _scan(path)
    assert isinstance(problem, Problem)
    assert "has 11 bytes; more than 10 are not read" in problem.reason
    assert entry.key == "b"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 700, 1024, 1536, 2047, 2048, 3072, 4096])
def test_a_tar_cut_anywhere_ends_in_one_fatal_problem(tmp_path: Path, size: int) -> None:
    """Two samples of two small members lie in 4 x 1024 bytes; the end mark begins at 4096."""
    path = tmp_path / "a.tar"
    write_tar(path, foreign(["a", "b"]))
    os.truncate(path, size)
    *entries, last = _scan(path)
    assert isinstance(last, Problem)
    assert last.fatal
    assert "truncated" in last.reason
    assert [entry.key for entry in entries] == (["a"] if size >= 2560 else [])


def test_what_is_no_tar_is_a_fatal_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    for data in (b"no tar at all" * 100, os.urandom(5120), bytes(10240)):
        path.write_bytes(data)
        (problem,) = _scan(path)
        assert isinstance(problem, Problem)
        assert problem.fatal
