"""`benchmark_data`, `predict` and `benchmark_score` in a row, with a real small checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from pictures import shape_samples

from inbol.benchmarks.base import BenchmarkDataMissing, BenchmarkItem, Grade
from inbol.benchmarks.dataset import BenchmarkRecord
from inbol.benchmarks.measuring import Graded, share
from inbol.benchmarks.registry import BENCHMARKS
from inbol.benchmarks.scoring import REFUSAL, GradedItem
from inbol.config.benchmarks import BenchmarkDataStage, BenchmarkScoreStage
from inbol.config.data import PredictConfig, ScoreConfig
from inbol.config.stages import PredictStage
from inbol.contracts import Prediction, VqaSample
from inbol.evaluation.metrics import Measure
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import benchmark_data, benchmark_score, predict
from inbol.stages.job import Job

CONFIG = BenchmarkDataStage(benchmark="pope", path="tiny", seed=0, tiny_images=3, split="test", images_per_shard=2)


class TextOnly:
    """Two variants of one question about no picture."""

    name = "text_only"

    def read(self, folder: Path) -> list[BenchmarkItem]:
        return [BenchmarkItem(key=f"t{n}", image=None, prompt=f"{toy.WHAT} {n}", group="g") for n in range(2)]

    def grade(self, item: BenchmarkItem, response: str) -> Grade:
        return Grade(key=item.key, values={"said": bool(response)})

    def measures(self, items: Sequence[BenchmarkItem], grades: Mapping[str, Grade]) -> dict[str, Measure]:
        graded = Graded(items, grades)
        return {"said": share(graded.said("said"), graded.everywhere)}

    def write_tiny(self, samples: Sequence[VqaSample], folder: Path, *, seed: int) -> None:
        (folder / "questions.txt").write_text("two")


def job(tmp_path: Path, stage: str, config: Any, out: str, **inputs: Path) -> Job:
    return Job(stage=stage, fingerprint="f", out=tmp_path / out, inputs=inputs, config=config)


@pytest.fixture
def vqa(tmp_path: Path) -> Path:
    write_shard(tmp_path / "vqa" / "test-000000.tar", shape_samples(5))
    return tmp_path / "vqa"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    toy.model(3).save_pretrained(tmp_path / "model" / "checkpoint")
    toy.processor().save_pretrained(tmp_path / "model" / "checkpoint")
    return tmp_path / "model"


def ask(tmp_path: Path, data: Path, model: Path) -> Path:
    config = PredictStage(predict=PredictConfig(max_new_tokens=3), split="test", prompt="plain")
    predict.run(job(tmp_path, "predict", config, "said", vqa=data, unsolvable=data, model=model))
    return tmp_path / "said"


def test_a_tiny_benchmark_goes_through_the_stages(tmp_path: Path, vqa: Path, checkpoint: Path) -> None:
    facts = benchmark_data.run(job(tmp_path, "benchmark_data", CONFIG, "data", vqa=vqa))
    data = tmp_path / "data"
    assert facts == {"benchmark": "pope", "items": 18, "images": 3, "made": True}
    assert sorted(path.name for path in data.glob("*.tar")) == ["test-000000.tar", "test-000001.tar"]
    said = ask(tmp_path, data, checkpoint)
    config = BenchmarkScoreStage(benchmark="pope", seed=0, score=ScoreConfig(bootstrap=20))
    facts = benchmark_score.run(job(tmp_path, "benchmark_score", config, "scores", data=data, predictions=said))
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    graded = read_records(tmp_path / "scores" / "grades.jsonl", GradedItem)
    assert facts["accuracy"] == scores["measures"]["accuracy"]["value"] == sum(one.values["correct"] for one in graded) / 18
    assert [one.key for one in graded] == [record.key for record in read_records(data / "items.jsonl", BenchmarkRecord)]
    assert scores["made"] is True and scores["images"] == 3
    assert np.load(tmp_path / "scores" / "samples.npy").shape == (20, len(scores["order"]))
    before = {path.name: path.read_bytes() for path in data.glob("test-*")}
    benchmark_data.run(job(tmp_path, "benchmark_data", CONFIG, "data", vqa=vqa))  # as after a kill
    assert {path.name: path.read_bytes() for path in data.glob("test-*")} == before


def test_questions_about_no_picture_are_asked_without_one(
    tmp_path: Path, vqa: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard keeps a place for the picture; the response is that of the same question in a tree without one."""
    from inbol.models.tree import Branch, Tree
    from inbol.stages.probe_parts import Decoder

    monkeypatch.setitem(BENCHMARKS, "text_only", TextOnly())
    config = BenchmarkDataStage(benchmark="text_only", path="tiny", seed=0, tiny_images=1, split="test")
    assert benchmark_data.run(job(tmp_path, "benchmark_data", config, "data", vqa=vqa))["images"] == 1
    said = read_records(ask(tmp_path, tmp_path / "data", checkpoint) / "test-000000.jsonl", Prediction)
    decoder = Decoder(checkpoint / "checkpoint")
    (alone,) = decoder([Tree(None, tuple(Branch(f"{toy.WHAT} {n}") for n in range(2)))], max_new_tokens=3)
    assert [one.logprob for one in said] == pytest.approx([drawn.logprobs[0] for drawn in alone], abs=1e-5)
    assert [one.text for one in said] == [decoder.text(drawn.ids[0]) for drawn in alone]


def test_the_threshold_of_the_base_refuses_here_too(tmp_path: Path, vqa: Path) -> None:
    """Level .5: the response of probability .4 becomes a refusal, the one of .6 stays."""
    benchmark_data.run(job(tmp_path, "benchmark_data", CONFIG, "data", vqa=vqa))
    records = read_records(tmp_path / "data" / "items.jsonl", BenchmarkRecord)
    said = [
        Prediction(key=r.key, image_key=r.image_key, text="yes", logprob=math.log(0.4 if n % 2 else 0.6), num_tokens=1)
        for n, r in enumerate(records)
    ]
    write_records(tmp_path / "said" / "test-000000.jsonl", said)
    (tmp_path / "score").mkdir()
    (tmp_path / "score" / "scores.json").write_text(json.dumps({"threshold": {"level": 0.5}}))
    config = BenchmarkScoreStage(benchmark="pope", seed=0, score=ScoreConfig(bootstrap=10))
    inputs = {"data": tmp_path / "data", "predictions": tmp_path / "said", "threshold": tmp_path / "score"}
    benchmark_score.run(job(tmp_path, "benchmark_score", config, "scores", **inputs))
    graded = read_records(tmp_path / "scores" / "grades.jsonl", GradedItem)
    assert [one.response for one in graded] == ["yes", REFUSAL] * 9
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert scores["threshold"] == 0.5 and scores["measures"]["refusal rate"]["value"] == 0.5


def test_missing_files_stop_before_anything_is_written(tmp_path: Path) -> None:
    config = BenchmarkDataStage(benchmark="pope", path=str(tmp_path / "absent"), seed=0)
    with pytest.raises(BenchmarkDataMissing, match=r"absent has no \*_pope_random"):
        benchmark_data.run(job(tmp_path, "benchmark_data", config, "data"))
    assert not (tmp_path / "data").exists()
