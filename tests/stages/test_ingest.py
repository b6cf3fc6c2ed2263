"""The ingest stage over a small local source and over a few easy-VQA images."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from small_shards import foreign, png, sample, write_tar

import inbol
from inbol.config.data import DegradationLevel, SourceConfig
from inbol.config.stages import IngestStage
from inbol.shards.quarantine import QUARANTINE, TooManyBad, read_quarantine
from inbol.shards.reader import ImageStore, read_shard, shard_names
from inbol.shards.writer import write_shard
from inbol.stages import ingest
from inbol.stages.job import Job


def _job(out: Path, source: SourceConfig) -> Job:
    return Job(stage="ingest", fingerprint="f", out=out, inputs={}, config=IngestStage(source=source))


def _local(folder: Path) -> SourceConfig:
    folder.mkdir()
    lines = []
    for number in range(5):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        lines.append(
            json.dumps({"image": f"{number}.png", "question": "what?", "answer": "red", "split": "test" if number > 2 else "align-train"})
        )
    (folder / "questions.jsonl").write_text("\n".join(lines))
    return SourceConfig(name="local", path=str(folder), images_per_shard=2)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*-00*"))}


def test_shards_and_counts(tmp_path: Path) -> None:
    """3 align-train images in shards of 2 make two shards, 2 test images one."""
    out = tmp_path / "out"
    facts = ingest.run(_job(out, _local(tmp_path / "data")))
    assert shard_names(out) == ["align-train-000000", "align-train-000001", "test-000000"]
    assert facts == {
        "source": "local",
        "images": {"align-train": 3, "test": 2},
        "questions": {"align-train": 3, "test": 2},
        "questions_in_unseen_wordings": {"align-train": 0, "test": 0},
        "images_per_level": {"align-train/level-0": 3, "test/level-0": 2},
    }
    store = ImageStore(out)
    samples = [sample for name in shard_names(out) for sample in read_shard(out, name)]
    assert len(samples) == len(store) == 5
    assert all(store[sample.key] == sample.image for sample in samples)


def test_writing_twice_gives_identical_files(tmp_path: Path) -> None:
    source = _local(tmp_path / "data")
    for folder in ("a", "b"):
        ingest.run(_job(tmp_path / folder, source))
    first = _digests(tmp_path / "a")
    assert len(first) == 6
    assert first == _digests(tmp_path / "b")


def test_a_killed_stage_resumes_and_keeps_what_is_written(tmp_path: Path) -> None:
    job = _job(tmp_path / "out", _local(tmp_path / "data"))
    facts = ingest.run(job)
    whole = _digests(job.out)
    (job.out / "test-000000.tar").unlink()
    kept = (job.out / "align-train-000000.tar").stat().st_mtime_ns
    assert ingest.run(job) == facts
    assert _digests(job.out) == whole
    assert (job.out / "align-train-000000.tar").stat().st_mtime_ns == kept


def test_wrong_data_leaves_nothing_behind(tmp_path: Path) -> None:
    source = _local(tmp_path / "data")
    (tmp_path / "data" / "4.png").write_text("no image")
    with pytest.raises(ValueError, match=r"questions.jsonl:5: image '4.png': not a PNG"):
        ingest.run(_job(tmp_path / "out", source))
    assert not (tmp_path / "out").exists()


def test_easy_vqa_is_ingested_with_levels(tmp_path: Path) -> None:
    pytest.importorskip("easy_vqa")
    levels = (DegradationLevel(occlusion=0, noise=0), DegradationLevel(occlusion=0.5, noise=20))
    source = SourceConfig(
        name="easy-vqa",
        pretrain_images=8,
        align_train_images=6,
        align_val_images=4,
        test_images=4,
        withheld_colors=("teal", "red"),
        levels=levels,
    )
    facts = ingest.run(_job(tmp_path, source))
    assert facts["images"]["align-train"] == 6
    assert facts["images"]["align-val"] == 4
    assert facts["images"]["test"] == 4
    assert facts["images"].get("pretrain", 0) <= 8
    assert facts["questions_in_unseen_wordings"]["align-train"] == 0 < facts["questions_in_unseen_wordings"]["test"]
    assert sum(facts["images_per_level"].values()) == sum(facts["images"].values())


def test_the_stage_does_not_import_torch() -> None:
    code = "import sys, inbol.stages.ingest; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'webdataset')))"
    path = {"PYTHONPATH": str(Path(inbol.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ | path).returncode == 0


def _shards(**more: object) -> SourceConfig:
    return SourceConfig(name="shards", align_train_images=1, test_images=1, images_per_shard=2, **more)  # type: ignore[arg-type]


def test_other_peoples_shards_are_copied_and_the_bad_ones_set_aside(tmp_path: Path) -> None:
    """Four images of two data sets, one of them without an answer: three are written, and the fourth stands in the quarantine."""
    write_tar(tmp_path / "a" / "x.tar", [*foreign(["1", "2"], split="test"), ("3.png", png()), ("3.json", b'{"question": "what?"}')])
    write_tar(tmp_path / "b" / "x.tar", foreign(["1"], split="align-train"))
    parts = {"coco": str(tmp_path / "a"), "viz": str(tmp_path / "b")}
    out = tmp_path / "out"
    with pytest.raises(TooManyBad, match=r"1 of 4 samples .*tolerates 0(.|\n)*sample '3': lacks answers"):
        ingest.run(_job(out, _shards(parts=parts)))
    assert [path.name for path in out.glob("*.tar")] == []
    facts = ingest.run(_job(out, _shards(parts=parts, max_bad_share=0.25)))
    assert facts["images"] == {"align-train": 1, "test": 2}
    assert (facts["shards_read"], facts["quarantined"]) == (2, 1)
    assert [problem.key for problem in read_quarantine(out / QUARANTINE)] == ["3"]
    store = ImageStore(out)
    assert store.image_keys("test") == ["coco-1", "coco-2"]
    assert store.size("viz-1") == (8, 6)


def test_shards_of_our_own_format_are_linked(tmp_path: Path) -> None:
    for number in range(2):
        write_shard(tmp_path / "far" / f"s{number}.tar", [sample(number * 10 + n) for n in range(3)])
    out = tmp_path / "out"
    facts = ingest.run(_job(out, _shards(path=str(tmp_path / "far"), link=True)))
    assert facts["images"] == {"test": 6}
    assert facts["shards_linked"] == 2
    assert shard_names(out) == ["test-000000", "test-000001"]
    assert not list(out.glob("*.tar"))
    store = ImageStore(out)
    assert store["test-11"] == png(11)
    assert [s.key for s in read_shard(out, "test-000001")] == ["test-10", "test-11", "test-12"]
    os.truncate(tmp_path / "far" / "s1.tar", 1024)
    with pytest.raises(ValueError, match=r"s1\.tar: has 1024 bytes, and had \d+ when it was linked"):
        ImageStore(out)["test-11"]


def test_what_cannot_be_linked_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", foreign(["1"]))
    with pytest.raises(ValueError, match=r"a\.tar: sample '1'.*set source.link=false"):
        ingest.run(_job(tmp_path / "out", _shards(path=str(tmp_path), link=True)))
    with pytest.raises(ValueError, match="the output of a command cannot be linked"):
        ingest.run(_job(tmp_path / "out", _shards(path="pipe:cat a.tar", link=True)))


def test_large_images_are_made_smaller_where_asked(tmp_path: Path) -> None:
    """8 x 6 pixels with at most 12: the factor is 1/2 a side."""
    write_tar(tmp_path / "a.tar", foreign(["1", "2"], split="test"))
    out = tmp_path / "out"
    ingest.run(_job(out, _shards(path=str(tmp_path), max_pixels=12)))
    assert ImageStore(out).size("1") == (4, 3)
    with pytest.raises(ValueError, match="linked shards are not written anew"):
        _shards(path="x", link=True, max_pixels=12)
