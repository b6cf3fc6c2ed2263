"""Items as records and shards, and responses as grades with a bootstrap; every registered benchmark keeps the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import shape_samples, write_png

from inbol.benchmarks.base import BenchmarkItem
from inbol.benchmarks.dataset import BenchmarkRecord, to_records, to_samples
from inbol.benchmarks.pope import Pope
from inbol.benchmarks.registry import BENCHMARKS, open_benchmark
from inbol.benchmarks.scoring import score_benchmark
from inbol.contracts import UNSHOWN, from_json, to_json


def item(key: str, image: Path | None, group: str = "") -> BenchmarkItem:
    return BenchmarkItem(key=key, image=image, prompt=f"{key}?", group=group, gold={"a": [1]})


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_tiny_instance_goes_through_records_shards_and_measures(tmp_path: Path, name: str) -> None:
    """Read back, records survive JSON, every response is graded, all grades are JSON, measures stand on all items."""
    benchmark = open_benchmark(name, seed=3)
    assert benchmark.name == name
    benchmark.write_tiny(shape_samples(4), tmp_path, seed=3)
    records = to_records(benchmark.read(tmp_path), tmp_path)
    samples = list(to_samples(records, tmp_path, name=name))
    assert sorted(q.key for sample in samples for q in sample.questions) == sorted(record.key for record in records)
    again = [from_json(BenchmarkRecord, to_json(record)) for record in records]
    assert again == records
    for said in ("I cannot tell from the image.", "yes", ""):
        result = score_benchmark(benchmark, again, {record.key: said for record in records}, resamples=20, seed=0)
        assert result.samples.shape == (20, len(result.scores["order"])) and len(result.graded) == len(records)
        for number in result.scores["measures"].values():
            assert number["value"] is None or (number["low"] <= number["value"] + 1e-9 and number["value"] <= number["high"] + 1e-9)
        assert [to_json(one) for one in result.graded]


def test_pictures_are_written_once_and_variants_of_a_question_about_none_share_a_sample(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", size=8)
    a = tmp_path / "a.png"
    records = to_records([item("k0", a), item("k1", None, "g"), item("k2", a), item("k3", None, "g"), item("k4", None)], tmp_path)
    samples = list(to_samples(records, tmp_path, name="b", max_pixels=16))
    assert [[q.key for q in sample.questions] for sample in samples] == [["k0", "k2"], ["k1", "k3"], ["k4"]]
    assert [bool(sample.meta.get(UNSHOWN)) for sample in samples] == [False, True, True]
    assert records[0].item() == BenchmarkItem(key="k0", image=Path("a.png"), prompt="k0?", group="k0", gold={"a": [1]})


def test_bad_items_and_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two items have the key 'k'"):
        to_records([item("k", None), item("k", None)], tmp_path)
    with pytest.raises(ValueError, match="has no items"):
        to_records([], tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    records = to_records([item("k", tmp_path / "a.png")], tmp_path)
    with pytest.raises(ValueError, match=r"a\.png: not a PNG, JPEG or WebP image"):
        list(to_samples(records, tmp_path, name="b"))


def test_the_bootstrap_draws_whole_pictures_and_pairs_systems(tmp_path: Path) -> None:
    """One picture right throughout, one wrong throughout: a resample's accuracy is 0, 1/2 or 1. The same draws for another system."""
    Pope().write_tiny(shape_samples(2), tmp_path, seed=0)
    records = to_records(Pope().read(tmp_path), tmp_path)
    first = records[0].image_key
    other = {"yes": "no", "no": "yes"}
    said = {r.key: r.gold["label"] if r.image_key == first else other[r.gold["label"]] for r in records}
    result = score_benchmark(Pope(), records, said, resamples=200, seed=0)
    accuracy = result.samples[:, result.scores["order"].index("accuracy")]
    assert set(np.unique(accuracy)) == {0.0, 0.5, 1.0}
    swapped = score_benchmark(Pope(), records, {key: other[value] for key, value in said.items()}, resamples=200, seed=0)
    assert swapped.samples[:, 0] == pytest.approx(1 - accuracy)


@pytest.mark.parametrize("name", ["pope", "mm_sap"])
def test_a_source_without_known_shapes_makes_no_instance(tmp_path: Path, name: str) -> None:
    samples = [replace(sample, meta={"level": 0}) for sample in shape_samples(2)]
    with pytest.raises(ValueError, match=f"needs pictures whose shape .*set benchmark.{name}.path"):
        open_benchmark(name, seed=0).write_tiny(samples, tmp_path, seed=0)


def test_responses_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    records = to_records([item("k", None)], tmp_path)
    with pytest.raises(ValueError, match="pope: 1 items and responses do not belong together, first 'k'; run predict again"):
        score_benchmark(Pope(), records, {}, resamples=10, seed=0)
    with pytest.raises(ValueError, match="benchmark: 'moho' is not one of mohobench"):
        open_benchmark("moho", seed=0)
