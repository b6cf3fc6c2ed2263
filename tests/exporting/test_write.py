"""Exports loaded again by `datasets`: every record with its image; folders that are whole, ours, or left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small_run
import toy
from datasets import load_dataset
from PIL import Image, ImageChops

from inbol.exporting.layouts import FORMATS, hf_row, llama_factory_row, ms_swift_row, trl_row
from inbol.exporting.write import export_data
from inbol.shards.files import write_records
from inbol.shards.manifest import read_manifest

RECORDS = {"sft": toy.sft_examples(), "pairs": toy.pairs()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_run.stages(tmp_path_factory.mktemp("runs"))


def written(out: Path, layout: str, folders: dict[str, Path]) -> tuple[bool, dict[str, Any]]:
    return export_data(out, layout, folders["ingest"], {"sft": folders["sft_data"], "pairs": folders["pairs"]}, run="a-run")


def load(out: Path, kind: str, cache: Path) -> Any:
    """As a user does, by the front matter of the README."""
    return load_dataset(str(out), kind, split="train", cache_dir=str(cache))


def same(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is None


@pytest.mark.parametrize("kind", ["sft", "pairs"])
def test_trl_and_hf_load_with_their_images(tmp_path: Path, folders: dict[str, Path], kind: str) -> None:
    for layout, row_of in (("trl", trl_row), ("hf", hf_row)):
        _, manifest = written(tmp_path / layout, layout, folders)
        assert manifest["facts"]["rows"] == {"sft": 15, "pairs": 15}
        rows = load(tmp_path / layout, kind, tmp_path / "cache")
        assert len(rows) == len(RECORDS[kind])
        for row, record in zip(rows, RECORDS[kind], strict=True):
            image = row.pop("image") if layout == "hf" else row.pop("images")[0]
            assert same(image, toy.image(record.image_key))
            assert row == row_of(record)


@pytest.mark.parametrize(("layout", "row_of"), [("llama-factory", llama_factory_row), ("ms-swift", ms_swift_row)])
def test_json_lines_load_and_name_image_files(tmp_path: Path, folders: dict[str, Path], layout: str, row_of: Any) -> None:
    out = tmp_path / "out"
    written(out, layout, folders)
    for kind, records in RECORDS.items():
        rows = load(out, kind, tmp_path / "cache")
        for row, record in zip(rows, records, strict=True):
            assert row == row_of(record, f"images/{record.image_key}.png")
            assert same(Image.open(out / row["images"][0]), toy.image(record.image_key))
    assert len(list((out / "images").iterdir())) == len(toy.COLORS)
    info = out / "dataset_info.json"
    assert info.exists() == (layout == "llama-factory")
    if info.exists():
        assert {one["file_name"] for one in json.loads(info.read_text()).values()} == {"sft.jsonl", "pairs.jsonl"}


@pytest.mark.parametrize("layout", FORMATS)
def test_the_readme_says_how_to_load_and_what_is_lost(tmp_path: Path, folders: dict[str, Path], layout: str) -> None:
    written(tmp_path / "out", layout, folders)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "- `sft`: 15 rows" in text and "sft_data-print" in text and "method=soft" in text
    assert ("Nothing is lost" in text) == (layout == "hf")
    assert ("weight > 0.5" in text) == (layout != "hf")
    assert "secret" not in text  # a path of the machine


def test_the_same_export_is_kept_and_another_makes_way(tmp_path: Path, folders: dict[str, Path]) -> None:
    out = tmp_path / "out"
    assert written(out, "hf", folders)[0] is True
    before = (out / "manifest.json").read_bytes()
    assert written(out, "hf", folders)[0] is False
    assert (out / "manifest.json").read_bytes() == before
    assert written(out, "ms-swift", folders)[0] is True
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "images", "manifest.json", "pairs.jsonl", "sft.jsonl"]
    assert read_manifest(out)["parents"] == {"vqa": "ingest-print", "sft": "sft_data-print", "pairs": "pairs-print"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, folders: dict[str, Path]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="was not written as 'export'; it is left alone"):
        written(out, "hf", folders)
    assert (out / "thesis.txt").read_text() == "mine"
    written(tmp_path / "ours", "hf", folders)
    (tmp_path / "ours" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds what the export did not write \(thesis\.txt\)"):
        written(tmp_path / "ours", "trl", folders)
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    with pytest.raises(ValueError, match="no folder of ours"):
        written(tmp_path / "link", "hf", folders)


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    folders = small_run.stages(tmp_path / "runs")
    out = tmp_path / "exports" / "out"
    written(out, "ms-swift", folders)
    lost = [*toy.sft_examples()[:1], *(one for one in toy.sft_examples()[1:2])]
    write_records(folders["sft_data"] / "align-train-000002.jsonl", [type(one)(**{**_plain(one), "image_key": "gone"}) for one in lost])
    small_run.finish(folders["sft_data"], "sft_data", {"changed": {"now": 1}})
    manifest = json.loads((folders["sft_data"] / "manifest.json").read_text())
    (folders["sft_data"] / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": "another"}))
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="red-q0-a: image 'gone' is in no shard"):
        written(out, "ms-swift", folders)
    assert (out / "manifest.json").read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def _plain(record: Any) -> dict[str, Any]:
    return hf_row(record)


def test_wrong_names_are_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="FORMAT: 'trlx' is not one of trl, llama-factory, ms-swift, hf"):
        written(tmp_path / "out", "trlx", folders)
    with pytest.raises(ValueError, match="RUN: a-run has neither SFT examples nor pairs"):
        export_data(tmp_path / "out", "hf", folders["ingest"], {}, run="a-run")
    assert not (tmp_path / "out").exists()
