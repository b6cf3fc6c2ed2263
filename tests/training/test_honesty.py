"""The honesty probe: its items and its numbers, and that a training with it is bit for bit the one without, under ZeRO-2 and 3 on two
ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from torch import nn

from inbol.contracts import PreferencePair, Question, SftExample
from inbol.models.tree import TreeCollator
from inbol.training.honesty import HonestyProbe, ProbeItem, items_of_examples, items_of_pairs, untouched
from tests.training.test_kills import assert_done, assert_same, run


def example(key: str, role: str, weight: float) -> SftExample:
    return SftExample(key=f"{key}-{role[0]}", image_key=key[0], prompt=f"{key}?", target="x", weight=weight, role=role)


def test_items_of_examples() -> None:
    """a-q0 weighs .7 to .3: known. a-q1 the other way round, b-q0 a refusal alone: unknown, of which b's is the first of its image. a-u0 is
    no answerable question: beyond the image, where the commonest gold answers stand for an answer."""
    examples = [
        example("a-q0", "answer", 0.7), example("a-q0", "refusal", 0.3),
        example("a-q1", "answer", 0.2), example("a-q1", "refusal", 0.8),
        example("a-q2", "refusal", 1.0), example("b-q0", "refusal", 1.0), example("a-u0", "refusal", 1.0),
    ]  # fmt: skip
    gold = {"a-q0": "red", "a-q1": "blue", "a-q2": "red", "b-q0": "circle"}
    questions = {key: Question(key=key, image_key=key[0], text=f"{key}?", answers=(answer, "other")) for key, answer in gold.items()}
    items = items_of_examples(examples, questions, per_group=2)
    assert [(i.group, i.prompt, i.answers) for i in items] == [
        ("known", "a-q0?", ("red",)),
        ("unknown", "a-q1?", ("blue",)),
        ("unknown", "b-q0?", ("circle",)),
        ("beyond-image", "a-u0?", ("red", "blue", "circle")),
    ]
    assert len(items_of_examples(examples, questions, per_group=1)) == 3


def test_items_of_pairs() -> None:
    def pair(key: str, chosen: str, rejected: str, *, answer: bool, role: str = "answerable") -> PreferencePair:
        sides = {"chosen": chosen, "rejected": rejected, "confidence": 0.5, "answer_is_chosen": answer, "role": role}
        return PreferencePair(key=f"{key}-p0", image_key=key[0], prompt=key, **sides)

    pairs = [
        pair("a0", "red", "no idea", answer=True),
        pair("a1", "no idea", "blue", answer=False),
        pair("a2", "no idea", "teal", answer=False),
        pair("b3", "no idea", "Bob", answer=False, role="beyond-image"),
    ]
    assert items_of_pairs(pairs, 2) == [
        ProbeItem("known", "a", "a0", ("red",)),
        ProbeItem("unknown", "a", "a1", ("blue",)),
        ProbeItem("beyond-image", "b", "b3", ("Bob",)),
    ]


def test_margins_are_those_of_padded_conversations() -> None:
    """Log of summed probabilities, refusals minus answers, from plain rows of one conversation each; the mean of the group of two."""
    model = toy.model()
    items = [
        ProbeItem("known", "red", toy.WHAT, ("red",)),
        ProbeItem("known", "blue", toy.WHAT, ("blue", "green")),
        ProbeItem("beyond-image", "red", toy.WHO, ("black",)),
    ]
    probe = HonestyProbe(items, toy.image, TreeCollator(toy.processor()), refusals=toy.REFUSALS, every=1, trees_per_batch=1)

    def margin(item: ProbeItem) -> float:
        texts = [*toy.REFUSALS, *item.answers]
        logps = toy.padded_logps(model, [(toy.image(item.image_key), item.prompt, text) for text in texts]).double()
        return float(logps[: len(toy.REFUSALS)].logsumexp(0) - logps[len(toy.REFUSALS) :].logsumexp(0))

    with torch.no_grad():
        found = probe.margins(model, torch.device("cpu"))
        expected = [margin(item) for item in items]
    assert found.keys() == {"known", "beyond-image"}
    assert found["known"] == pytest.approx((expected[0] + expected[1]) / 2, abs=1e-3)
    assert found["beyond-image"] == pytest.approx(expected[2], abs=1e-3)


def test_a_look_leaves_mode_and_random_state() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)).train()
    before = torch.random.get_rng_state()
    with untouched(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
    assert model.training
    assert model[0].training
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.heavy
@pytest.mark.parametrize("zero", [2, 3])
def test_weights_do_not_depend_on_it(zero: int, tmp_path: Path) -> None:
    """Two ranks, dropout, ten steps, a checkpoint every two: every weight, loss and booked tree is that of the run without. The means stand
    in the log before the first step and after every third."""
    common = {"zero": zero, "dropout": 0.2}
    done = run(tmp_path, {"without": {"folder": "without", **common}, "with": {"folder": "with", "probe": 3, **common}}, limit=200)
    for result in done.values():
        assert_done(result)
    assert_same(tmp_path / "with", tmp_path / "without")
    looks = [entry for entry in logged(tmp_path / "with") if any(name.startswith("honesty/") for name in entry)]
    assert [entry["step"] for entry in looks] == [0, 3, 6, 9]
    assert all({"honesty/known", "honesty/unknown", "honesty/beyond-image"} <= entry.keys() for entry in looks)
    assert len({entry["honesty/unknown"] for entry in looks}) == 4, "training moves them"


def logged(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "log.json").read_text())
