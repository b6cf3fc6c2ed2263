"""Targets of the published methods, from labels, confidences and samples."""

from __future__ import annotations

from typing import Any

import pytest

from inbol.building.examples import METHODS, OF, build_examples
from inbol.building.pairs import build_pairs
from inbol.config.data import QUESTIONS, SFT_METHODS
from inbol.contracts import Boundary, BoundaryLabel, Question, ResponseSet, SftExample
from inbol.text.refusals import is_refusal

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red", "crimson"), kind="color")
BEYOND = Question(key="q", image_key="i", text="who drew it?", answerable=False, kind="context-dependent")


def label(c: float, *, tau: float = 0.5, beyond: bool = False) -> BoundaryLabel:
    value = Boundary.BEYOND_IMAGE if beyond else Boundary.KNOWN if c >= tau else Boundary.UNKNOWN
    return BoundaryLabel(key="q", image_key="i", label=value, confidence=c, evidence="")


def drawn(*texts: str, key: str = "q", intended: int = 0) -> ResponseSet:
    return ResponseSet(key=key, image_key="i", texts=texts, logprobs=(-1.0,) * len(texts), num_tokens=(2,) * len(texts), intended=intended)


def build(question: Question, of_label: BoundaryLabel, method: str, **changed: Any) -> tuple[SftExample, ...]:
    arguments: dict[str, Any] = {"tau": 0.5, "dead_band": 0.0, "reason_share": 0.0, "seed": 0}
    return build_examples(question, of_label, method=method, **(arguments | changed))


def facts(examples: tuple[SftExample, ...]) -> list[tuple[str, str, float]]:
    """(key, target or "refusal", weight)."""
    return [(e.key, "refusal" if e.role == "refusal" else e.target, round(e.weight, 9)) for e in examples]


def test_the_configuration_knows_the_same_names() -> None:
    assert METHODS == SFT_METHODS and OF == QUESTIONS


def test_extrinsic_looks_at_the_question_alone() -> None:
    for c in (0.0, 1.0):
        assert facts(build(QUESTION, label(c), "extrinsic")) == [("q-a", "red", 1.0)]
    assert facts(build(BEYOND, label(0, beyond=True), "extrinsic")) == [("q-r", "refusal", 1.0)]


@pytest.mark.parametrize(
    ("c", "target"),
    [(0.1, "I am unsure, but I guess it is red."), (0.3, "Perhaps it is red."), (0.6, "I think it is red."), (1.0, "It is red.")],
)
def test_verb(c: float, target: str) -> None:
    assert facts(build(QUESTION, label(c), "verb")) == [("q-a", target, 1.0)]


def test_verb_refuses_what_no_sample_knows() -> None:
    assert facts(build(QUESTION, label(0.0), "verb")) == [("q-r", "refusal", 1.0)]
    assert facts(build(BEYOND, label(0, beyond=True), "verb")) == [("q-r", "refusal", 1.0)]


def test_suffix_keeps_every_gold_answer() -> None:
    assert facts(build(QUESTION, label(0.5), "suffix")) == [("q-a", "red. I am sure.", 1.0)]
    assert facts(build(QUESTION, label(0.4), "suffix")) == [("q-a", "red. I cannot say for sure.", 1.0)]
    assert facts(build(BEYOND, label(0, beyond=True), "suffix")) == [("q-r", "refusal", 1.0)]


def test_levels_answer_from_their_threshold_on() -> None:
    """c = .3: answered where .3 >= 1.1 - l, that is from level .8 on; level 0 refuses everything."""
    examples = build(QUESTION, label(0.3), "levels", levels=11)
    assert [e.key for e in examples] == [f"q-{'a' if n >= 8 else 'r'}{n:02d}" for n in range(11)]
    assert [e.prompt for e in examples][8] == "Level of boldness: 0.8. what color is the shape?"
    assert {e.target for e in examples[8:]} == {"red"} and all(is_refusal(e.target, e.prompt) for e in examples[:8])
    sure = build(QUESTION, label(1.0), "levels", levels=11)
    assert [e.role for e in sure] == ["refusal"] + ["answer"] * 10
    assert {e.role for e in build(BEYOND, label(0, beyond=True), "levels", levels=11)} == {"refusal"}
    assert len(build(QUESTION, label(1.0), "levels", levels=3)) == 3


def test_a_sample_is_the_answer() -> None:
    """Of five samples, three are right in two forms; with enough seeds both are drawn, and nothing else."""
    responses = drawn("red", "it is crimson", "red", "green", "I do not know.")
    found = set()
    for seed in range(40):
        ((_, target, weight),) = facts(build(QUESTION, label(0.6), "threshold", answer="sample", responses=responses, seed=seed))
        found.add(target)
        assert weight == 1.0
    assert found == {"red", "it is crimson"}
    assert facts(build(QUESTION, label(0.6), "threshold", answer="sample", responses=drawn("green"))) == [("q-a", "red", 1.0)]


def test_multisample_is_a_copy_for_every_sample() -> None:
    """Five samples: red x2, crimson x1, two that are not right: weights .4, .2 and a refusal of .4."""
    responses = drawn("red", "crimson", "red", "green", "I do not know.")
    examples = build(QUESTION, label(0.6), "soft", answer="samples", responses=responses)
    assert facts(examples) == [("q-a0", "red", 0.4), ("q-a1", "crimson", 0.2), ("q-r", "refusal", 0.4)]
    assert facts(build(QUESTION, label(0.0), "soft", answer="samples", responses=drawn("green"))) == [("q-r", "refusal", 1.0)]


@pytest.mark.parametrize(("of", "answerable", "beyond"), [("all", 1, 1), ("answerable", 1, 0), ("beyond-image", 0, 1)])
def test_of_leaves_questions_out(of: str, answerable: int, beyond: int) -> None:
    assert len(build(QUESTION, label(1.0), "threshold", of=of)) == answerable
    assert len(build(BEYOND, label(0.0, beyond=True), "threshold", of=of)) == beyond
    arguments: dict[str, Any] = {"form": "single", "tau": 0.5, "dead_band": 0.0, "reason_share": 0.0, "seed": 0, "of": of}
    for question, of_label, expected in ((QUESTION, label(1.0), answerable), (BEYOND, label(0.0, beyond=True), beyond)):
        pairs, reason = build_pairs(question, of_label, drawn("red", "blue"), **arguments)
        assert len(pairs) == expected and reason == ("" if expected else "left-out")


def test_pairs_name_the_alteration_of_their_image() -> None:
    arguments: dict[str, Any] = {"form": "single", "tau": 0.5, "dead_band": 0.0, "reason_share": 0.0, "seed": 0}
    (pair,), _ = build_pairs(QUESTION, label(1.0), drawn("red"), altered="blank", **arguments)
    (plain,), _ = build_pairs(QUESTION, label(1.0), drawn("red"), **arguments)
    assert pair.altered == "blank" and plain.altered == ""
    assert pair.chosen == plain.chosen and pair.rejected == plain.rejected


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="answer: 'best' is not one of 'gold', 'sample', 'samples'"):
        build(QUESTION, label(1.0), "threshold", answer="best")
    with pytest.raises(ValueError, match="of: 'some' is not one of 'all', 'answerable', 'beyond-image'"):
        build(QUESTION, label(1.0), "threshold", of="some")
    with pytest.raises(ValueError, match=r"q: sft_data\.answer='sample' takes the model's own samples, and there are none"):
        build(QUESTION, label(1.0), "threshold", answer="sample")
    with pytest.raises(ValueError, match="responses of r cannot make an example of question q"):
        build(QUESTION, label(1.0), "threshold", answer="sample", responses=drawn("red", key="r"))
    with pytest.raises(ValueError, match="q: its sampling stopped early"):
        build(QUESTION, label(1.0), "threshold", answer="sample", responses=drawn("red", intended=10))
