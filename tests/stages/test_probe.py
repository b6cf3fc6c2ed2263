"""Stages `probe`, `estimate` and `boundary` with a real, small checkpoint, each ask against the plain padded conversation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from inbol.config.data import BoundaryConfig
from inbol.config.estimating import ESTIMATORS as NAMES
from inbol.config.stages import BoundaryStage, ConfidenceStage, EstimateStage, ProbeStage
from inbol.contracts import Boundary, BoundaryLabel, Estimate, Probed, Question, ResponseSet, VqaSample
from inbol.probing.asks import Evidence
from inbol.probing.estimators.p_ik import decode_state, fit
from inbol.probing.estimators.registry import ASKS, ESTIMATORS, asks_of
from inbol.shards.files import read_records, write_records
from inbol.shards.writer import write_shard
from inbol.stages import boundary, confidence, estimate, probe
from inbol.stages.asking import reveal
from inbol.stages.estimate import fold_of
from inbol.stages.job import Job

SPLITS = ("align-train", "align-val")
K = 4


@pytest.fixture(scope="module")
def model() -> Any:
    return toy.model(5)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Path:
    """Two splits of three pictures with one or two answerable questions, one beyond each, and samples that differ in how many are right."""
    folder = tmp_path_factory.mktemp("world")
    model.save_pretrained(folder / "model" / "checkpoint")
    toy.processor().save_pretrained(folder / "model" / "checkpoint")
    for number, split in enumerate(SPLITS):
        name, samples, beyond, drawn = f"{split}-000000", [], [], []
        for n, color in enumerate(list(toy.COLORS)[3 * number :][:3]):
            raw = io.BytesIO()
            toy.image(color).save(raw, format="PNG")
            texts = (toy.WHAT, "is the image blue?")[: 1 + n % 2]
            asked = tuple(Question(key=f"{color}-q{m}", image_key=color, text=text, answers=(color, "no")) for m, text in enumerate(texts))
            samples.append(VqaSample(key=color, image=raw.getvalue(), image_format="png", split=split, source="toy", questions=asked))
            beyond.append(Question(key=f"{color}-u0", image_key=color, text=toy.WHO, answerable=False, kind="context-dependent"))
            for m, question in enumerate((*asked, beyond[-1])):
                right = (n + m) % (K + 1)
                texts = (color,) * right + ("pink", "teal", "gold", "I do not know.")[: K - right]
                drawn.append(ResponseSet(key=question.key, image_key=color, texts=texts, logprobs=(-1.0,) * K, num_tokens=(2,) * K))
        write_shard(folder / "vqa" / f"{name}.tar", samples)
        write_records(folder / "unsolvable" / f"{name}.jsonl", beyond)
        order = [q.key for sample in samples for q in sample.questions] + [q.key for q in beyond]
        write_records(folder / "responses" / f"{name}.jsonl", sorted(drawn, key=lambda record: order.index(record.key)))
    return folder


def orders(world: Path, stage: str, config: Any, out: str, *roles: str, **named: str) -> Job:
    inputs = {role: world / role for role in ("vqa", "unsolvable", *roles)} | {role: world / name for role, name in named.items()}
    return Job(stage=stage, fingerprint="f", out=world / out, inputs=inputs, config=config)


def probed(world: Path, out: str, *estimators: str, batch: int = 2, splits: tuple[str, ...] = SPLITS) -> dict[str, Probed]:
    config = ProbeStage(
        asks=asks_of(estimators), splits=splits, samples=K, answer_tokens=4, explanations=2, explanation_tokens=5, trees_per_batch=batch,
        seed=0,
    )  # fmt: skip
    facts = probe.run(orders(world, "probe", config, out, "responses", "model"))
    records = [r for split in splits for r in read_records(world / out / f"{split}-000000.jsonl", Probed)]
    assert facts == {"shards": len(splits), "records": len(records)}
    return {record.key: record for record in records}


@pytest.fixture(scope="module")
def everything(world: Path) -> dict[str, Probed]:
    return probed(world, "probe", *NAMES)


def evidence(world: Path) -> dict[str, Evidence]:
    """Answerable questions with their samples, as the stage sees them before it asks."""
    job = orders(world, "estimate", EstimateStage(estimators=("accuracy",)), "x", "responses", "probe")
    found = [estimate.read_evidence(job, f"{split}-000000")[1] for split in SPLITS]
    return {key: e for shard in found for key, e in shard.items() if e.question.answerable}


def test_every_answerable_question_is_asked_and_no_other(world: Path, everything: dict[str, Probed]) -> None:
    for key, record in everything.items():
        if key.endswith("u0"):
            assert record == Probed(key=key, image_key=record.image_key)
            continue
        said = {name: [r for r in record.replies if r.ask == name] for name in asks_of(NAMES)}
        answered = Evidence(evidence(world)[key].question, evidence(world)[key].responses, record).answer() is not None
        assert len(said["answer"]) == 1 and len(said["revealed-0.25"][0].texts) == K and len(decode_state(record.state)) == 32
        assert {name: len(said[name]) for name in ("explain", "entailed", "is-true", "blind")} == {
            "explain": answered, "entailed": 2 * answered, "is-true": answered, "blind": answered,
        }  # fmt: skip
    assert sum(any(r.ask == "is-true" for r in record.replies) for record in everything.values()) >= 4


def test_scores_and_states_are_those_of_padded_conversations(world: Path, everything: dict[str, Probed], model: Any) -> None:
    """Every scored continuation, over the image as it was revealed; and the state, which makes the next token's logits."""
    wanted, found = [], []
    for key, whole in evidence(world).items():
        image = toy.image(whole.question.image_key)
        replies = iter(everything[key].replies)
        for name in asks_of(NAMES):
            ask = ASKS[name]
            for prompt in ask.prompts(whole) if ask.kind != "state" else ():
                reply = next(replies)
                assert reply.ask == name
                if ask.kind == "score":
                    assert reply.texts == ask.options(whole)
                    wanted += [(reveal(image, ask.revealed), prompt, text) for text in reply.texts]
                    found += reply.logprobs
    assert len(wanted) > 60
    torch.testing.assert_close(torch.tensor(found), toy.padded_logps(model, wanted), atol=2e-5, rtol=1e-5)
    key, whole = next(iter(evidence(world).items()))
    text, image = toy.conversation(whole.question.text), toy.image(whole.question.image_key)
    inputs = toy.processor()(text=[text], images=[image], add_special_tokens=False, return_tensors="pt")
    out = model(**inputs, output_hidden_states=True)
    state = torch.tensor(decode_state(everything[key].state), dtype=torch.float32)
    torch.testing.assert_close(state, out.hidden_states[-1][0, -1], atol=2e-3, rtol=2e-3)


def test_batches_change_nothing_and_a_finished_file_is_kept(world: Path, everything: dict[str, Probed]) -> None:
    """One image at a time; then the file of one split is emptied and stays as it is."""
    few = ("p-true", "informativeness")
    one, two = probed(world, "one", *few, batch=1), probed(world, "two", *few, batch=3)
    assert [(r.ask, r.texts) for p in one.values() for r in p.replies] == [(r.ask, r.texts) for p in two.values() for r in p.replies]
    alike = {(key, r.ask): r.texts for key, p in everything.items() for r in p.replies}
    assert all(alike[key, r.ask] == r.texts for key, p in one.items() for r in p.replies)
    path = world / "two" / "align-val-000000.jsonl"
    path.write_text("")
    assert set(probed(world, "two", *few, batch=3)) == {key for key in one if key.split("-")[0] in list(toy.COLORS)[:3]}
    assert path.read_text() == ""


def test_revealing() -> None:
    """A quarter of the area is half of each side: 8 x 8 of 16 x 16, in the middle; blank is grey; the whole is itself."""
    picture = toy.image("red")
    quarter, blank = np.asarray(reveal(picture, 0.25)), np.asarray(reveal(picture, 0.0))
    assert (blank == 128).all() and reveal(picture, 1.0) is picture
    assert (quarter[4:12, 4:12] == np.asarray(picture)[4:12, 4:12]).all()
    assert (quarter != 128).any(axis=2).sum() == 64


def estimated(world: Path, *names: str, folds: int = 2) -> dict[str, Estimate]:
    out = "-".join(("estimates", *names))
    config = EstimateStage(estimators=names, ridge=1.0, folds=folds)
    estimate.run(orders(world, "estimate", config, out, "responses", "probe"))
    return {record.key: record for split in SPLITS for record in read_records(world / out / f"{split}-000000.jsonl", Estimate)}


def test_every_estimator_scores_every_answerable_question(world: Path, everything: dict[str, Probed]) -> None:
    found = estimated(world, *NAMES)
    assert set(found) == set(everything)
    for key, record in found.items():
        assert set(record.scores) == (set() if key.endswith("u0") else set(NAMES))
        for name, score in record.scores.items():
            assert np.isfinite(score) and (not ESTIMATORS[name].probability or 0 <= score <= 1)
    assert len({round(record.scores["p-ik"], 6) for record in found.values() if record.scores}) > 4


def test_the_probe_never_scores_what_it_was_trained_on(world: Path, everything: dict[str, Probed]) -> None:
    """By hand: align-val from all of align-train, align-train from the images of the other fold."""
    found = estimated(world, "p-ik")
    known = evidence(world)
    train = [e for key, e in known.items() if e.question.image_key in list(toy.COLORS)[:3]]
    assert {fold_of(e.question.image_key, 2) for e in train} == {0, 1}
    whole = fit(train, 1.0)
    for key, e in known.items():
        others = [t for t in train if fold_of(t.question.image_key, 2) != fold_of(e.question.image_key, 2)]
        expected = fit(others, 1.0)(e) if e in train else whole(e)
        assert found[key].scores["p-ik"] == pytest.approx(expected, abs=1e-9)


def test_another_estimator_draws_the_boundary(world: Path, everything: dict[str, Probed]) -> None:
    """A probability decides as it is; semantic entropy through the map that was fitted on align-val, with its threshold in the facts."""
    confidence.run(orders(world, "confidence", ConfidenceStage(), "confidence", "responses"))
    for name in ("self-consistency", "semantic-entropy"):
        scores = estimated(world, name)
        config = BoundaryStage(boundary=BoundaryConfig(tau=0.5))
        facts = boundary.run(orders(world, "boundary", config, f"boundary-{name}", "confidence", estimates=f"estimates-{name}"))
        labels = [r for split in SPLITS for r in read_records(world / f"boundary-{name}" / f"{split}-000000.jsonl", BoundaryLabel)]
        assert facts["estimator"] == name and len(labels) == len(scores)
        for label in labels:
            if label.key.endswith("u0"):
                assert label.label is Boundary.BEYOND_IMAGE
                continue
            score = scores[label.key].scores[name]
            known = score >= (0.5 if name == "self-consistency" else facts["threshold"])
            assert label.label is (Boundary.KNOWN if known else Boundary.UNKNOWN)
            assert f"Intrinsic rule: {name} " in label.evidence and label.confidence is not None and 0 <= label.confidence <= 1
        assert len({label.label for label in labels}) == 3
    both = estimated(world, "accuracy", "self-consistency")
    assert both
    with pytest.raises(ValueError, match="holds the scores of accuracy, self-consistency; exactly one can decide"):
        boundary.run(orders(world, "boundary", config, "b", "confidence", estimates="estimates-accuracy-self-consistency"))


def test_accuracy_through_estimates_is_the_boundary_without(world: Path) -> None:
    """The estimator `accuracy` gives the labels and confidences that the stage gives without estimates; only the wording differs."""
    confidence.run(orders(world, "confidence", ConfidenceStage(), "confidence", "responses"))
    config = EstimateStage(estimators=("accuracy",))
    estimate.run(orders(world, "estimate", config, "plain", "responses"))
    stage = BoundaryStage(boundary=BoundaryConfig(tau=0.5, mistaken=0.6))
    boundary.run(orders(world, "boundary", stage, "with", "confidence", estimates="plain"))
    boundary.run(orders(world, "boundary", stage, "without", "confidence"))
    for split in SPLITS:
        pair = [read_records(world / out / f"{split}-000000.jsonl", BoundaryLabel) for out in ("with", "without")]
        assert [(a.key, a.label, a.confidence) for a in pair[0]] == [(b.key, b.label, b.confidence) for b in pair[1]]
