"""Stage `sample` with a real, small checkpoint: stopping early changes no label and no sample, batches change nothing."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from inbol.config.data import BoundaryConfig, SamplingConfig
from inbol.config.stages import BoundaryStage, ConfidenceStage, PredictConfig, PredictStage, SampleStage
from inbol.contracts import BoundaryLabel, Confidence, Prediction, Question, ResponseSet, VqaSample
from inbol.models.generate import decode_trees, uniforms
from inbol.models.tree import Branch, Tree, TreeCollator
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import boundary, confidence, predict, sample
from inbol.stages.job import Job
from inbol.stages.probe_parts import Decoder

NAME, K = "align-train-000000", 10
ASKED = {color: (toy.WHAT, "is the image blue?")[: 1 + n % 2] for n, color in enumerate(toy.COLORS)}
"""One or two answerable questions per image, so that trees differ in length; and who made it, beyond the image."""
ORDER = [f"{color}-{end}" for color, texts in ASKED.items() for end in (*(f"q{n}" for n in range(len(texts))), "u0")]
BOUNDARY = BoundaryConfig(tau=0.5, mistaken=0.6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose answers vary and end: end-of-sequence has changed rows of the output matrix with the likeliest token."""
    made, batch = toy.model(3, scale=6.0), TreeCollator(toy.processor())([Tree(toy.image(c), (Branch(toy.WHAT),)) for c in toy.COLORS])
    weight = 0.6 * torch.randn(made.lm_head.weight.shape, generator=torch.Generator().manual_seed(0))
    made.lm_head.weight = torch.nn.Parameter(weight)
    made.config.tie_word_embeddings = made.config.text_config.tie_word_embeddings = False
    random = [uniforms(0, color, 20, 8) for color in toy.COLORS]
    drawn = decode_trees(made, batch, eos_token_id=-1, max_new_tokens=8, random=random)
    likeliest = Counter(token for (answer,) in drawn for ids in answer.ids for token in ids).most_common(1)[0][0]
    ends = toy.processor().tokenizer.eos_token_id
    with torch.no_grad():
        weight[[likeliest, ends]] = weight[[ends, likeliest]]
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    made.save_pretrained(folder)
    toy.processor().save_pretrained(folder)
    return folder.parent


@pytest.fixture
def world(tmp_path: Path, checkpoint: Path) -> Path:
    write_world(tmp_path, {})
    return tmp_path


def write_world(folder: Path, answers: dict[str, tuple[str, ...]]) -> None:
    samples, beyond = [], []
    for color, texts in ASKED.items():
        raw = io.BytesIO()
        toy.image(color).save(raw, format="PNG")
        asked = tuple(
            Question(key=f"{color}-q{n}", image_key=color, text=text, answers=answers.get(f"{color}-q{n}", ("nothing of the kind",)))
            for n, text in enumerate(texts)
        )
        samples.append(VqaSample(key=color, image=raw.getvalue(), image_format="png", split="align-train", source="toy", questions=asked))
        beyond.append(Question(key=f"{color}-u0", image_key=color, text=toy.WHO, answerable=False, kind="context-dependent"))
    write_shard(folder / "vqa" / f"{NAME}.tar", samples)
    write_records(folder / "unsolvable" / f"{NAME}.jsonl", beyond)


def orders(world: Path, checkpoint: Path, stage: str, config: Any, out: str, **roles: str) -> Job:
    inputs = {"vqa": world / "vqa", "unsolvable": world / "unsolvable", "model": checkpoint}
    return Job(stage=stage, fingerprint="f", out=world / out, inputs={**inputs, **{k: world / v for k, v in roles.items()}}, config=config)


def draw(world: Path, checkpoint: Path, out: str, *, stop: str = "never", batch: int = 4) -> dict[str, ResponseSet]:
    sampling = SamplingConfig(k=K, max_new_tokens=8, trees_per_batch=batch, stop=stop)
    config = SampleStage(sampling=sampling, splits=("align-train",), seed=0, boundary=BOUNDARY if stop == "label" else None)
    facts = sample.run(orders(world, checkpoint, "sample", config, out))
    records = read_records(world / out / f"{NAME}.jsonl", ResponseSet)
    assert facts["records"] == len(records)
    return {record.key: record for record in records}


def label(world: Path, checkpoint: Path, responses: str) -> tuple[dict[str, Any], dict[str, BoundaryLabel]]:
    """Facts of the confidence stage, and the labels."""
    made = orders(world, checkpoint, "confidence", ConfidenceStage(), f"{responses}-c", responses=responses)
    facts = confidence.run(made)
    boundary.run(orders(world, checkpoint, "boundary", BoundaryStage(boundary=BOUNDARY), f"{responses}-b", confidence=f"{responses}-c"))
    return facts, {record.key: record for record in read_records(world / f"{responses}-b" / f"{NAME}.jsonl", BoundaryLabel)}


def test_labels_by_stopping_are_those_of_all_samples(world: Path, checkpoint: Path) -> None:
    """The toy's own most frequent answers become the accepted ones of some questions, so that there are known and unknown ones."""
    said = draw(world, checkpoint, "first")
    frequent = {key: Counter(text for text in record.texts if text).most_common(6) for key, record in said.items()}
    answers = {key: tuple(text for text, _ in frequent[key]) for n, key in enumerate(sorted(said)) if n % 4 != 1}
    write_world(world, answers)
    every, some = draw(world, checkpoint, "every"), draw(world, checkpoint, "some", stop="label")
    (facts, labels), (bounded, stopped) = label(world, checkpoint, "every"), label(world, checkpoint, "some")
    assert list(some) == list(every) == ORDER
    assert {key: record.label for key, record in stopped.items()} == {key: record.label for key, record in labels.items()}
    assert len({record.label for record in labels.values()}) >= 3
    assert facts["mean_accuracy"] is not None
    low, high = bounded["mean_accuracy_between"]
    assert low <= facts["mean_accuracy"] <= high
    assert bounded["answerable"] == facts["answerable"] == 9

    early = [key for key, record in some.items() if record.intended]
    assert bounded["stopped_early"] == len(early) > 6
    assert any(some[key].texts for key in early) and any(not record.intended for record in some.values())
    for key, record in some.items():
        whole = list(zip(every[key].texts, every[key].num_tokens, strict=True))
        longest = max(record.num_tokens, default=0)
        assert list(zip(record.texts, record.num_tokens, strict=True)) == [pair for pair in whole if pair[1] <= longest]
        assert record.logprobs == pytest.approx([p for p, n in zip(every[key].logprobs, every[key].num_tokens) if n <= longest], abs=2e-5)
        assert (len(record.texts) < K) == bool(record.intended)
        if key.endswith("u0"):
            assert (record.texts, record.intended) == ((), K)
    exact = read_records(world / "every-c" / f"{NAME}.jsonl", Confidence)
    bounds = {record.key: record for record in read_records(world / "some-c" / f"{NAME}.jsonl", Confidence)}
    held = [bounds[c.key].accuracy_bounds for c in exact if bounds[c.key].accuracy_bounds]
    assert len(held) >= 1
    for c in exact:
        if between := bounds[c.key].accuracy_bounds:
            assert c.accuracy is not None and between[0] <= c.accuracy <= between[1]
        else:
            assert bounds[c.key].accuracy == c.accuracy


def test_batches_change_no_sample_and_no_order(world: Path, checkpoint: Path) -> None:
    together, one = draw(world, checkpoint, "four"), draw(world, checkpoint, "one", batch=1)
    assert list(together) == list(one) == ORDER
    assert {key: record.texts for key, record in together.items()} == {key: record.texts for key, record in one.items()}


def test_trees_of_like_length_are_answered_together(world: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six images, of two and of three questions in turn, three a batch: the long trees first, then the short ones; no record moves."""
    sizes: list[list[int]] = []
    plain = Decoder.__call__

    def noted(self: Decoder, trees: Any, **decoding: Any) -> Any:
        sizes.append([len(tree.branches) for tree in trees])
        return plain(self, trees, **decoding)

    monkeypatch.setattr(Decoder, "__call__", noted)
    config = PredictStage(predict=PredictConfig(max_new_tokens=3, trees_per_batch=3), split="align-train", prompt="plain")
    predict.run(orders(world, checkpoint, "predict", config, "predicted"))
    assert sizes == [[3, 3, 3], [2, 2, 2]]
    assert [record.key for record in read_records(world / "predicted" / f"{NAME}.jsonl", Prediction)] == ORDER
