"""Other people's shards: what is taken, what is set aside and why, and that nothing in them is ever executed."""

from __future__ import annotations

import json
import os
import pickle
import random
import zlib
from pathlib import Path

import pytest
from small_shards import foreign, png, record, write_tar

from inbol.shards.cache import ShardCache
from inbol.shards.foreign import ForeignShards, Survey, survey
from inbol.shards.quarantine import TooManyBad, check_share, read_quarantine, write_quarantine
from inbol.shards.tar import Problem

SIZES = {"align-train": 1, "test": 1}


def _survey(folder: Path) -> Survey:
    return survey({"": str(folder)}, ShardCache(folder / "cache", limit=10**9))


def _reasons(found: Survey) -> dict[str, str]:
    return {problem.key: problem.reason for problem in found.problems}


def test_every_form_of_record_is_understood(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "x"}, {"from": "human", "value": "and?"}]
    records = {
        "one": {"question": "what?", "answer": "x", "width": 3},
        "two": {"question": "what?", "answers": ["x", "y"], "id": "q7", "split": "test"},
        "many": {
            "questions": [{"question": "a?", "answer": "b"}, {"question": "c?", "answerable": False, "kind": "vague"}],
            "split": "test",
        },
        "turns": {"conversations": [*turns, {"from": "gpt", "value": "y"}]},
    }
    members = [m for key, raw in records.items() for m in ((f"d/{key}.PNG", png()), (f"d/{key}.json", json.dumps(raw).encode()))]
    write_tar(tmp_path / "a.tar", members)
    cache = ShardCache(tmp_path / "cache", limit=10**9)
    found = survey({"mine": str(tmp_path)}, cache)
    assert not found.problems
    assert [(key, sample.split) for key, sample in found.samples.items()] == [
        ("mine-d-one", ""), ("mine-d-two", "test"), ("mine-d-many", "test"), ("mine-d-turns", "")
    ]  # fmt: skip
    source = ForeignShards(found, cache, seed=0, sizes=SIZES)
    assert {split: len(keys) for split, keys in source.splits().items()} == {"pretrain": 0, "align-train": 1, "align-val": 0, "test": 3}
    sample = source.build("test", "mine-d-many")
    assert [(q.key, q.text, q.answers, q.answerable) for q in sample.questions] == [
        ("mine-d-many-q00", "a?", ("b",), True), ("mine-d-many-q01", "c?", (), False)
    ]  # fmt: skip
    assert (sample.source, sample.split, sample.image) == ("mine", "test", png())
    assert [q.text for q in source.build("test", "mine-d-turns").questions] == ["what?", "and?"]
    assert source.build("test", "mine-d-two").questions[0].key == "mine-d-two-q7"


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    image = png()
    header = b"IHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    bomb = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\r" + header + zlib.crc32(header).to_bytes(4, "big") + image[33:]
    bad = {
        "no-image": ([("json", record())], "needs exactly one image member (.png, .jpg, .jpeg, .webp), found none"),
        "two-images": ([("png", image), ("jpg", image), ("json", record())], "found png, jpg"),
        "no-json": ([("png", image)], "lacks its .json member"),
        "wrong-json": ([("png", image), ("json", b"{")], "not valid JSON"),
        "deep-json": ([("png", image), ("json", b"[" * 100_000)], "not valid JSON"),
        "list-json": ([("png", image), ("json", b"[]")], "must be an object, got list"),
        "no-question": ([("png", image), ("json", b'{"caption": "x"}')], "has no question"),
        "no-answer": ([("png", image), ("json", b'{"question": "what?"}')], "lacks answers"),
        "no-png": ([("png", b"MZ\x90\x00"), ("json", record())], "not a PNG, JPEG or WebP image"),
        "cut-png": ([("png", image[:45]), ("json", record())], "damaged PNG image of 8 x 6 pixels"),
        "bomb": ([("png", bomb), ("json", record())], "too large"),
        "split": ([("png", image), ("json", record(split="train"))], "split 'train' is not one of"),
    }
    write_tar(
        tmp_path / "a.tar", [(f"{key}.{ext}", data) for key, (members, _) in bad.items() for ext, data in members] + foreign(["good"])
    )
    found = _survey(tmp_path)
    assert list(found.samples) == ["good"]
    assert found.total == len(bad) + 1
    reasons = _reasons(found)
    assert list(reasons) == list(bad)
    for key, (_, reason) in bad.items():
        assert reason in reasons[key], key


def test_problems_of_whole_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", foreign(["a", "b"]))
    write_tar(tmp_path / "b.tar", foreign(["c", "b"]))
    write_tar(tmp_path / "c.tar", foreign(["d", "e"]))
    os.truncate(tmp_path / "c.tar", 3000)
    (tmp_path / "d.tar").touch()
    found = _survey(tmp_path)
    assert list(found.samples) == ["a", "b", "c", "d"]
    assert [(p.key, p.fatal) for p in found.problems] == [("b", False), ("e", True), ("", True)]
    assert "came before in" in found.problems[0].reason
    away = survey({"": "pipe:exit 3"}, _impatient(tmp_path))
    assert [p.reason.partition(";")[0] for p in away.problems] == ["pipe:exit 3: could not be read in 1 attempts"]


def _impatient(tmp_path: Path) -> ShardCache:
    import inbol.shards.cache as module

    class Impatient(ShardCache):
        def path(self, link):  # type: ignore[no-untyped-def]
            return module.download(link.url, tmp_path / "x", attempts=1) and tmp_path / "x"

    return Impatient(tmp_path / "cache", limit=10**9)


def test_the_quarantine_tolerates_a_stated_share(tmp_path: Path) -> None:
    problems = [Problem(shard="a.tar", offset=512 * n, key=f"k{n}", reason="r") for n in range(12)]
    file = tmp_path / "quarantine.jsonl"
    write_quarantine(file, problems)
    assert read_quarantine(file) == problems
    check_share(problems, total=1200, share=0.01, where=file)
    with pytest.raises(TooManyBad, match=r"12 of 1199 samples could not be used, and source.max_bad_share=0.01 tolerates 11") as error:
        check_share(problems, total=1199, share=0.01, where=file)
    assert "a.tar at byte 512, sample 'k1': r" in str(error.value)
    assert "and 2 more" in str(error.value)
    write_quarantine(file, [])
    assert not file.exists()
    assert read_quarantine(file) == []


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_in_a_shard_is_counted_and_never_opened(tmp_path: Path) -> None:
    victim = tmp_path / "executed"
    load = pickle.dumps(_Touch(str(victim)))
    extensions = ["pyd", "pickle", "pkl", "pth", "pt", "npy", "py", "msg"]
    write_tar(tmp_path / "a.tar", [("../../a.png", png()), ("../../a.json", record()), *((f"../../a.{e}", load) for e in extensions)])
    found = _survey(tmp_path)
    assert list(found.samples) == ["-a"]  # the key is no path
    assert found.ignored == dict.fromkeys(sorted(extensions), 1)
    cache = ShardCache(tmp_path / "cache", limit=10**9)
    ForeignShards(found, cache, seed=0, sizes=SIZES).build("test", "-a")
    assert not victim.exists()


def _mutated(data: bytes, rng: random.Random) -> bytes:
    """Bits turned, bytes overwritten, a piece cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        at, length = rng.randrange(len(changed)), rng.choice((1, 4, 100, 512, 2000))
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case 4:
                del changed[at:]
            case _:
                changed[at : at + length] = bytes(length)
        if len(changed) < 2:
            changed = bytearray(b"\0\0")
    return bytes(changed)


def test_two_thousand_mutated_shards_and_records(tmp_path: Path) -> None:
    """No crash, no hang, exact counts: what a survey met is what it took and what it names, for every mutation of a shard of four samples
    and of the records in a whole one."""
    write_tar(tmp_path / "right.tar", foreign(["a", "b", "c", "d"], split="test"))
    right = (tmp_path / "right.tar").read_bytes()
    cache = ShardCache(tmp_path / "cache", limit=10**9)
    rng = random.Random(0)
    taken = set()
    for number in range(2000):
        path = tmp_path / "mutated" / "a.tar"
        path.parent.mkdir(exist_ok=True)
        if number % 2:
            path.write_bytes(_mutated(right, rng))
        else:
            members = [(name, _mutated(data, rng) if rng.random() < 0.5 else data) for name, data in foreign(["a", "b", "c", "d"])]
            path.unlink(missing_ok=True)
            write_tar(path, members)
        found = survey({"": str(path)}, cache)
        assert found.total == len(found.samples) + len(found.problems)
        assert all(problem.reason for problem in found.problems)
        source = ForeignShards(found, cache, seed=0, sizes=SIZES)
        for split, keys in source.splits().items():
            for key in keys:
                assert source.build(split, key).key == key
        taken.add(len(found.samples))
    assert taken >= {0, 1, 2, 3, 4}
