from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inbol.building.pairs import build_pairs, sampled_answers
from inbol.contracts import Boundary, BoundaryLabel, Outcome, PreferencePair, Question, ResponseSet
from inbol.text.refusals import is_refusal

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
BEYOND = Question(key="q", image_key="i", text="who drew it?", answerable=False, kind="context-dependent", reason="it does not say")
ARGUMENTS: dict[str, Any] = {"tau": 0.5, "dead_band": 0.0, "reason_share": 0.0, "seed": 0}
REFUSAL = "I do not know."


def responses(**counts: int) -> ResponseSet:
    texts = tuple({"refusal": REFUSAL, "empty": "", "Red_": "Red."}.get(word, word) for word, n in counts.items() for _ in range(n))
    return ResponseSet(key="q", image_key="i", texts=texts, logprobs=(0.0,) * len(texts), num_tokens=(2,) * len(texts))


def label(c: float, *, beyond: bool = False, key: str = "q") -> BoundaryLabel:
    value = Boundary.BEYOND_IMAGE if beyond else Boundary.KNOWN if c >= 0.5 else Boundary.UNKNOWN
    return BoundaryLabel(key=key, image_key="i", label=value, confidence=c, evidence="")


def show(pairs: tuple[PreferencePair, ...]) -> list[tuple[str, str, str, float]]:
    """(key, chosen, rejected, weight), with any refusal as R."""
    sides = [[("R" if is_refusal(t, p.prompt) else t) for t in (p.chosen, p.rejected)] for p in pairs]
    assert [p.answer_is_chosen for p in pairs] == [rejected == "R" for _, rejected in sides]
    return [(p.key, *side, round(p.weight, 9)) for p, side in zip(pairs, sides)]  # type: ignore[misc]


def test_distinct_answers_are_counted_over_spellings() -> None:
    """red x2 + Red. x1 are one answer of 3, spelt as most often; blue 3 comes first by spelling; refusals and empty ones are out."""
    found = sampled_answers(QUESTION, responses(red=2, Red_=1, blue=3, teal=1, refusal=2, empty=1))
    assert [(a.text, a.count, a.outcome) for a in found] == [
        ("blue", 3, Outcome.WRONG),
        ("red", 3, Outcome.CORRECT),
        ("teal", 1, Outcome.WRONG),
    ]


def test_single_known_prefers_the_gold_answer() -> None:
    pairs, skipped = build_pairs(QUESTION, label(0.7), responses(Red_=7, blue=3), form="single", **ARGUMENTS)
    assert (show(pairs), skipped) == ([("q-p0", "red", "R", 1.0)], "")
    assert (pairs[0].confidence, pairs[0].role, pairs[0].prompt) == (0.7, "answerable", QUESTION.text)


def test_single_unknown_prefers_refusing_to_the_most_frequent_wrong_sample() -> None:
    pairs, skipped = build_pairs(QUESTION, label(0.4), responses(red=4, blue=2, teal=3, refusal=1), form="single", **ARGUMENTS)
    assert (show(pairs), skipped) == ([("q-p0", "R", "teal", 1.0)], "")
    assert pairs[0].confidence == 0.4


def test_single_beyond_the_image_every_answer_is_wrong() -> None:
    pairs, _ = build_pairs(BEYOND, label(0.0, beyond=True), responses(red=4, no=5, refusal=1), form="single", **ARGUMENTS)
    assert show(pairs) == [("q-p0", "R", "no", 1.0)]
    assert (pairs[0].role, pairs[0].confidence) == ("beyond-image", 0.0)


def test_duplicated_is_one_pair_per_distinct_answer() -> None:
    """K = 10: red 5 (two spellings), blue 3, teal 1, one refusal. Weights .5, .3, .1; the refusal's .1 stands for no pair."""
    pairs, skipped = build_pairs(QUESTION, label(0.5), responses(red=4, Red_=1, blue=3, teal=1, refusal=1), form="duplicated", **ARGUMENTS)
    assert show(pairs) == [("q-p0", "red", "R", 0.5), ("q-p1", "R", "blue", 0.3), ("q-p2", "R", "teal", 0.1)]
    assert skipped == ""
    assert {p.confidence for p in pairs} == {0.5}


def test_duplicated_weights_of_correct_answers_sum_to_the_confidence() -> None:
    """Without refusals the weight on the answering side is c and on the refusing side 1 - c: the soft label of conservative DPO."""
    pairs, _ = build_pairs(QUESTION, label(0.3), responses(red=3, blue=6, teal=1), form="duplicated", **ARGUMENTS)
    assert sum(p.weight for p in pairs if p.answer_is_chosen) == pytest.approx(0.3)
    assert sum(p.weight for p in pairs if not p.answer_is_chosen) == pytest.approx(0.7)


def test_duplicated_beyond_the_image() -> None:
    pairs, _ = build_pairs(BEYOND, label(0.0, beyond=True), responses(no=3, red=1), form="duplicated", **ARGUMENTS)
    assert show(pairs) == [("q-p0", "R", "no", 0.75), ("q-p1", "R", "red", 0.25)]


def test_skipped_questions_say_why() -> None:
    silent = responses(refusal=9, empty=1)
    assert build_pairs(QUESTION, label(0.0), silent, form="single", **ARGUMENTS) == ((), "no-wrong-sample")
    assert build_pairs(BEYOND, label(0.0, beyond=True), silent, form="single", **ARGUMENTS) == ((), "no-wrong-sample")
    assert build_pairs(QUESTION, label(0.0), silent, form="duplicated", **ARGUMENTS) == ((), "no-answer-sample")
    banded = {**ARGUMENTS, "dead_band": 0.2}
    assert build_pairs(QUESTION, label(0.6), responses(red=6, blue=4), form="single", **banded) == ((), "dead-band")
    assert build_pairs(QUESTION, label(0.7), responses(red=7, blue=3), form="single", **banded)[1] == ""
    assert build_pairs(BEYOND, label(0.0, beyond=True), responses(red=1), form="single", **{**banded, "tau": 0.1})[1] == ""


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'double' is not one of 'single', 'duplicated'"):
        build_pairs(QUESTION, label(1.0), responses(red=1), form="double", **ARGUMENTS)
    with pytest.raises(ValueError, match="must share one key"):
        build_pairs(QUESTION, label(1.0, key="x"), responses(red=1), form="single", **ARGUMENTS)


def test_a_mistake_is_corrected_and_not_refused() -> None:
    """9 of 10 samples say blue, 1 says red: the gold answer over blue with weight 1, or 9/10 of the duplicated form's mass."""
    mistaken = BoundaryLabel(key="q", image_key="i", label=Boundary.MISTAKEN, confidence=0.1, evidence="")
    for form, weight in (("single", 1.0), ("duplicated", 0.9)):
        pairs, skipped = build_pairs(QUESTION, mistaken, responses(red=1, blue=9), form=form, **ARGUMENTS)
        assert skipped == ""
        assert [(p.chosen, p.rejected, p.answer_is_chosen, p.confidence) for p in pairs] == [("red", "blue", True, 1.0)]
        assert pairs[0].weight == pytest.approx(weight)


def test_samples_that_stopped_early_make_no_pair() -> None:
    """Five wrong ones of ten would not say which wrong answer is the most frequent of all."""
    stopped = replace(responses(blue=6), intended=10)
    for made in (stopped, responses(blue=6)):
        with pytest.raises(ValueError, match=r"q: .*sampling\.stop=label.* a preference pair needs .*set sampling\.stop=never"):
            build_pairs(QUESTION, replace(label(0.0), confidence=None), made, form="single", **ARGUMENTS)


def test_knowledge_orders_correct_over_refused_over_wrong() -> None:
    """RLKF's order. KNOWN: gold over a refusal, gold over the most frequent wrong sample (blue, not teal); without a wrong sample the first
    alone. UNKNOWN: a refusal over the most frequent wrong sample."""
    pairs, skipped = build_pairs(QUESTION, label(0.6), responses(red=6, blue=3, teal=1), form="knowledge", **ARGUMENTS)
    sides = [(p.key, p.chosen, "R" if is_refusal(p.rejected, p.prompt) else p.rejected) for p in pairs]
    assert sides == [("q-p0", "red", "R"), ("q-p1", "red", "blue")] and skipped == ""
    assert [p.answer_is_chosen for p in pairs] == [True, True] and [p.weight for p in pairs] == [1.0, 1.0]
    sure, _ = build_pairs(QUESTION, label(1.0), responses(red=10), form="knowledge", **ARGUMENTS)
    assert show(sure) == [("q-p0", "red", "R", 1.0)]
    unknown, _ = build_pairs(QUESTION, label(0.1), responses(red=1, blue=6, teal=3), form="knowledge", **ARGUMENTS)
    assert show(unknown) == [("q-p0", "R", "blue", 1.0)]
