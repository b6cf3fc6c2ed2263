from __future__ import annotations

from typing import Any

import pytest

from inbol.building.examples import build_examples
from inbol.contracts import Boundary, BoundaryLabel, Question, SftExample
from inbol.text.refusals import WORDINGS, is_refusal

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red", "crimson"), kind="color")
BEYOND = Question(
    key="q", image_key="i", text="who drew it?", answerable=False, kind="context-dependent", reason="the picture does not say who made it"
)
ARGUMENTS: dict[str, Any] = {"tau": 0.5, "dead_band": 0.0, "reason_share": 0.0, "seed": 0}


def label(c: float, *, beyond: bool = False, key: str = "q") -> BoundaryLabel:
    value = Boundary.BEYOND_IMAGE if beyond else Boundary.KNOWN if c >= 0.5 else Boundary.UNKNOWN
    return BoundaryLabel(key=key, image_key="i", label=value, confidence=c, evidence="")


def summary(examples: tuple[SftExample, ...]) -> list[tuple[str, str, float]]:
    return [(e.key, e.role, round(e.weight, 9)) for e in examples]


@pytest.mark.parametrize(
    ("method", "c", "expected"),
    [
        ("soft", 0.7, [("q-a", "answer", 0.7), ("q-r", "refusal", 0.3)]),
        ("soft", 1.0, [("q-a", "answer", 1.0)]),
        ("soft", 0.0, [("q-r", "refusal", 1.0)]),
        ("threshold", 0.5, [("q-a", "answer", 1.0)]),
        ("threshold", 0.4, [("q-r", "refusal", 1.0)]),
        ("plain", 0.0, [("q-a", "answer", 1.0)]),
        ("plain", 1.0, [("q-a", "answer", 1.0)]),
    ],
)
def test_weights_of_an_answerable_question(method: str, c: float, expected: list[tuple[str, str, float]]) -> None:
    examples = build_examples(QUESTION, label(c), method=method, **ARGUMENTS)
    assert summary(examples) == expected
    assert {e.target for e in examples if e.role == "answer"} <= {"red"}
    assert all(is_refusal(e.target, QUESTION.text) for e in examples if e.role == "refusal")
    assert {(e.prompt, e.image_key) for e in examples} == {("what color is the shape?", "i")}


REFUSED = [("q-r", "refusal", 1.0)]


@pytest.mark.parametrize(("method", "expected"), [("soft", REFUSED), ("threshold", REFUSED), ("plain", [])])
def test_beyond_the_image(method: str, expected: list[tuple[str, str, float]]) -> None:
    assert summary(build_examples(BEYOND, label(0.0, beyond=True), method=method, **ARGUMENTS)) == expected


@pytest.mark.parametrize(("c", "kept"), [(0.3, True), (0.4, True), (0.5, False), (0.6, True), (0.7, True)])
def test_the_dead_band_is_open(c: float, kept: bool) -> None:
    """Half-width .1 around .5: .4 and .6 stand on its edge and stay, although .5 - .4 is .09999... in floating point."""
    arguments = {**ARGUMENTS, "dead_band": 0.1}
    for method in ("soft", "threshold"):
        assert bool(build_examples(QUESTION, label(c), method=method, **arguments)) is kept
    assert build_examples(QUESTION, label(c), method="plain", **arguments)
    assert build_examples(BEYOND, label(0.0, beyond=True), method="soft", **{**arguments, "tau": 0.0})


def test_reasons_follow_their_share() -> None:
    def target(question: Question, share: float) -> str:
        of_label = label(0.0, beyond=not question.answerable)
        return build_examples(question, of_label, method="soft", **{**ARGUMENTS, "reason_share": share})[0].target

    assert target(BEYOND, 1.0).endswith(", because the picture does not say who made it.")
    assert target(BEYOND, 0.0) in WORDINGS
    assert ", because I" in target(QUESTION, 1.0)


def test_the_draw_is_seeded_by_question() -> None:
    def targets(seed: int) -> list[str]:
        made = []
        for number in range(20):
            question = Question(key=f"q{number}", image_key="i", text="what is it?", answers=("red",))
            made += build_examples(question, label(0.0, key=question.key), method="soft", **{**ARGUMENTS, "seed": seed})
        return [example.target for example in made]

    assert targets(0) == targets(0)
    assert targets(0) != targets(1)
    assert len(set(targets(0))) > 4


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'hard' is not one of 'soft', 'threshold', 'plain'"):
        build_examples(QUESTION, label(1.0), method="hard", **ARGUMENTS)
    with pytest.raises(ValueError, match="label of x cannot make an example of question q"):
        build_examples(QUESTION, label(1.0, key="x"), method="soft", **ARGUMENTS)


@pytest.mark.parametrize("method", ["soft", "threshold", "plain"])
def test_a_mistake_is_taught_the_answer(method: str) -> None:
    """Sure and wrong (c = 0.1): the gold answer alone, of weight 1, inside any dead band."""
    question = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
    mistaken = BoundaryLabel(key="q", image_key="i", label=Boundary.MISTAKEN, confidence=0.1, evidence="")
    examples = build_examples(question, mistaken, method=method, tau=0.5, dead_band=0.5, reason_share=0.0, seed=0)
    assert [(e.target, e.weight, e.role) for e in examples] == [("red", 1.0, "answer")]


def test_where_sampling_stopped_early_the_label_is_enough_and_the_confidence_is_refused() -> None:
    """`threshold` and `plain` read the label alone; `soft` and a dead band need the number."""
    stopped = BoundaryLabel(key="q", image_key="i", label=Boundary.KNOWN, confidence=None, evidence="")
    for method in ("threshold", "plain"):
        assert build_examples(QUESTION, stopped, method=method, **ARGUMENTS) == build_examples(
            QUESTION, label(0.7), method=method, **ARGUMENTS
        )
    with pytest.raises(ValueError, match=r"q: .*sampling\.stop=label.* sft_data\.method='soft' needs .*set sampling\.stop=never"):
        build_examples(QUESTION, stopped, method="soft", **ARGUMENTS)
    with pytest.raises(ValueError, match=r"q: .*sampling\.stop=label.* sft_data\.dead_band needs .*set sampling\.stop=never"):
        build_examples(QUESTION, stopped, method="threshold", **{**ARGUMENTS, "dead_band": 0.1})
