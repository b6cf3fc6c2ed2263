"""Shards from elsewhere: addresses, downloads that fail, and the cache that ranks share, against a real server."""

from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_shards import png, sample

from inbol.shards.cache import ShardCache
from inbol.shards.link import link_shards
from inbol.shards.reader import ImageStore, read_shard
from inbol.shards.remote import CacheFull, Link, Unreachable, download, expand, is_remote, masked, read_link, write_link
from inbol.shards.writer import write_shard


class _Server(ThreadingHTTPServer):
    files: dict[str, bytes]
    failures: dict[str, int]
    """How often a file fails before it comes."""
    short: dict[str, int]
    """How often only half of it comes."""
    asked: list[str]
    pause: float = 0.0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        self.server.asked.append(name)
        time.sleep(self.server.pause)
        if self.server.failures.get(name, 0) > 0:
            self.server.failures[name] -= 1
            self.send_error(503)
            return
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.short.get(name, 0) > 0:
            self.server.short[name] -= 1
            data = data[: len(data) // 2]
        self.wfile.write(data)

    def do_HEAD(self) -> None:
        name = self.path.lstrip("/")
        self.send_response(200 if name in self.server.files else 404)
        self.send_header("Content-Length", str(len(self.server.files.get(name, b""))))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files, server.failures, server.short, server.asked = {}, {}, {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def _url(server: _Server, name: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def _link(url: str, data: bytes) -> Link:
    return Link(url, len(data), hashlib.sha256(data).hexdigest())


def test_addresses(tmp_path: Path) -> None:
    assert expand("s3://b/{08..11}-{0..1}.tar")[:3] == ["s3://b/08-0.tar", "s3://b/08-1.tar", "s3://b/09-0.tar"]
    assert len(expand("s3://b/{08..11}-{0..1}.tar")) == 8
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert expand(str(tmp_path)) == expand(f"{tmp_path}/*.tar") == [str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]
    with pytest.raises(ValueError, match="there are no shards"):
        expand(str(tmp_path / "z*.tar"))
    with pytest.raises(ValueError, match="runs backwards"):
        expand("s3://b/{9..1}.tar")
    assert is_remote("https://h/a.tar") and is_remote("pipe:cat a") and not is_remote("/a.tar") and not is_remote("file:///a.tar")
    assert masked("https://me:secret@h/a.tar?sig=secret") == "https://***@h/a.tar"


def test_a_download_is_tried_again_and_whole_or_absent(tmp_path: Path, server: _Server) -> None:
    data = os.urandom(3_000_000)
    server.files["a.tar"], server.failures["a.tar"], server.short["a.tar"] = data, 2, 1
    got = download(_url(server, "a.tar"), tmp_path / "a", expected=_link("", data), attempts=5, pause=0.01)
    assert got.bytes == len(data)
    assert (tmp_path / "a").read_bytes() == data
    assert server.asked == ["a.tar"] * 4  # two refusals, one that broke off, one that came
    with pytest.raises(Unreachable, match=r"nope\.tar: could not be read in 2 attempts; the last one: "):
        download(_url(server, "nope.tar"), tmp_path / "b", attempts=2, pause=0.01)
    with pytest.raises(Unreachable, match="not 3 with 2d711642b726"):
        download(_url(server, "a.tar"), tmp_path / "b", expected=Link("", 3, "2d711642b726" + "0" * 52), attempts=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_command_and_its_failure(tmp_path: Path) -> None:
    assert download("pipe:printf abc", tmp_path / "a").bytes == 3
    assert (tmp_path / "a").read_bytes() == b"abc"
    with pytest.raises(Unreachable, match="the command ended with 3"):
        download("pipe:printf abc; exit 3", tmp_path / "b", attempts=1)
    assert not (tmp_path / "b").exists()


def test_a_full_disk_is_no_reason_to_try_again(tmp_path: Path) -> None:
    (tmp_path / ".full.part").symlink_to("/dev/full")
    with pytest.raises(CacheFull, match="INBOL_SHARD_CACHE"):
        download("pipe:head -c 3000000 /dev/zero", tmp_path / "full", attempts=3, pause=100)


def test_a_link_never_names_a_command(tmp_path: Path) -> None:
    write_link(tmp_path, "test-000000", Link("pipe:touch /tmp/x", 1, "00"))
    with pytest.raises(ValueError, match="names a command"):
        read_link(tmp_path, "test-000000")
    (tmp_path / "test-000001.link.json").write_text("[]")
    with pytest.raises(ValueError, match="not the link of a shard"):
        read_link(tmp_path, "test-000001")


def test_the_cache_brings_a_shard_once_and_drops_the_least_used(tmp_path: Path, server: _Server) -> None:
    links = []
    for name in "abc":
        server.files[name] = os.urandom(1000)
        links.append(_link(_url(server, name), server.files[name]))
    cache = ShardCache(tmp_path, limit=2500)
    first = cache.path(links[0])
    cache.path(links[1])
    os.utime(first, ns=(1, 1))
    assert cache.path(links[0]) == first  # used again, so b is the oldest now
    assert cache.path(links[0]).read_bytes() == server.files["a"]
    with cache.path(links[1]).open("rb") as held:
        os.utime(cache.path(links[1]), ns=(2, 2))
        cache.path(links[2])
        assert held.read() == server.files["b"]  # dropped, but whoever has it open keeps it
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) == 2000
    assert server.asked == ["a", "b", "c"]
    assert cache.path(Link(links[0].url, 0, "")) == first  # without a checksum: what is there


def test_what_lies_in_the_cache_with_another_size_is_brought_anew(tmp_path: Path, server: _Server) -> None:
    server.files["a"] = os.urandom(1000)
    link = _link(_url(server, "a"), server.files["a"])
    cache = ShardCache(tmp_path, limit=10**6)
    os.truncate(cache.path(link), 10)
    assert cache.path(link).read_bytes() == server.files["a"]


def test_prefetching_goes_on_in_the_background(tmp_path: Path, server: _Server) -> None:
    server.files = {name: os.urandom(1000) for name in "ab"}
    cache = ShardCache(tmp_path, limit=10**6)
    for name in "abab":
        cache.prefetch(_link(_url(server, name), server.files[name]))
    cache.close()
    assert sorted(server.asked) == ["a", "b"]
    assert cache.path(_link(_url(server, "a"), server.files["a"])).read_bytes() == server.files["a"]
    assert sorted(server.asked) == ["a", "b"]


def _bring(folder: str, link: Link) -> bytes:
    return ShardCache(Path(folder), limit=10**7).path(link).read_bytes()


def test_ranks_of_a_node_bring_a_shard_once(tmp_path: Path, server: _Server) -> None:
    server.files["a"], server.pause = os.urandom(100_000), 0.2
    link = _link(_url(server, "a"), server.files["a"])
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        got = pool.starmap(_bring, [(str(tmp_path), link)] * 3)
    assert all(data == server.files["a"] for data in got)
    assert server.asked == ["a"]


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOL_SHARD_CACHE_GB", "many")
    with pytest.raises(ValueError, match="INBOL_SHARD_CACHE_GB: 'many'"):
        ShardCache.of_node()


def test_linked_shards_are_read_from_far_away(tmp_path: Path, server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingest looks at each shard once; an emptied cache is filled again, and a shard that was exchanged meanwhile is not taken."""
    monkeypatch.setenv("INBOL_SHARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("inbol.shards.remote.FIRST_PAUSE", 0.001)
    for number in range(2):
        write_shard(tmp_path / f"{number}.tar", [sample(10 * number + n) for n in range(3)])
        server.files[f"s{number}.tar"] = (tmp_path / f"{number}.tar").read_bytes()
    out = tmp_path / "vqa"
    facts = link_shards(out, {"": _url(server, "s{0..1}.tar")}, ShardCache.of_node())
    assert facts["shards_linked"] == 2
    assert sorted(server.asked) == ["s0.tar", "s1.tar"]
    assert [s.key for s in read_shard(out, "test-000001")] == ["test-10", "test-11", "test-12"]
    shutil.rmtree(tmp_path / "cache")
    store = ImageStore(out)
    store.prefetch(["test-0", "test-10"])
    assert store["test-11"] == png(11)
    assert store["test-2"] == png(2)
    assert sorted(server.asked) == ["s0.tar", "s0.tar", "s1.tar", "s1.tar"]
    shutil.rmtree(tmp_path / "cache")
    server.files["s0.tar"] = server.files["s1.tar"]
    store, before = ImageStore(out), len(server.asked)
    for key in ("test-2", "test-1", "test-2"):
        with pytest.raises(ValueError, match=r"s0\.tar: could not be read in 5 attempts; the last one: ValueError: \d+ bytes with sha256"):
            store[key]
    assert len(server.asked) == before + 5  # asked for once, not once an image


def test_any_file_system_of_fsspec_is_read(tmp_path: Path) -> None:
    """Its own in memory stands for s3, gs and hf, which are read by the same call."""
    import fsspec

    with fsspec.open("memory://bucket/a.tar", "wb") as file:
        file.write(b"abc")
    assert download("memory://bucket/a.tar", tmp_path / "a").bytes == 3
    with pytest.raises(ImportError if not _has("s3fs") else Unreachable):
        download("s3://no-such-bucket-of-mine/a.tar", tmp_path / "b", attempts=1)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
