"""The label by stopping is the label by all K samples, and no rule could stop earlier."""

from __future__ import annotations

import itertools
import random

import pytest

from inbol.contracts import Boundary, Question, ResponseSet
from inbol.probing.boundary import draw_boundary
from inbol.probing.confidence import estimate
from inbol.probing.stopping import Tally, fixed_label, label_between, tally

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red", "crimson"), kind="color")
BEYOND = Question(key="q", image_key="i", text="who drew it?", answerable=False, kind="context-dependent")
SAID = ("red", "It is red.", "crimson", "blue", "Blue.", "green", "a teal one", "", "I cannot tell.", "Sorry, I do not know.")
"""Three spellings of two accepted answers, five of four wrong ones, two of the refusal."""
TAUS = (0.0, 0.1, 0.3, 1 / 3, 0.5, 0.6, 0.7, 0.9, 1.0)
MISTAKEN = (None, 0.51, 0.6, 2 / 3, 0.7, 0.9, 1.0)


def responses(texts: tuple[str, ...], intended: int = 0) -> ResponseSet:
    n = len(texts)
    return ResponseSet(key="q", image_key="i", texts=texts, logprobs=(-1.0,) * n, num_tokens=(2,) * n, intended=intended)


def label(texts: tuple[str, ...], tau: float, mistaken: float | None, intended: int = 0) -> Boundary:
    """By the stages' own way: confidence, then boundary."""
    return draw_boundary(QUESTION, estimate(responses(texts, intended), QUESTION), tau=tau, mistaken=mistaken).label


def by_definition(texts: tuple[str, ...], tau: float, mistaken: float | None) -> Boundary:
    """From the estimates: KNOWN at c >= tau; else MISTAKEN where the most frequent answer is neither right nor a refusal."""
    c = estimate(responses(texts), QUESTION)
    assert c.accuracy is not None and c.consistency is not None and c.refused is not None
    if c.accuracy >= tau:
        return Boundary.KNOWN
    sure = mistaken is not None and c.consistency >= mistaken > max(c.accuracy, c.refused)
    return Boundary.MISTAKEN if sure else Boundary.UNKNOWN


def test_counts_by_hand() -> None:
    """Six drawn: red and crimson are correct, Blue. and blue are one wrong answer, green another, one refusal. Of K = 10, four are open."""
    so_far = tally(["red", "Blue.", "crimson", "green", "I cannot tell.", "blue"], QUESTION)
    assert so_far == Tally(drawn=6, correct=2, agreeing=2)
    assert (so_far.accuracy(10), so_far.agreement(10)) == ((0.2, 0.6), (0.2, 0.6))
    assert tally(["red", "I cannot tell."], QUESTION).agreeing == 0


@pytest.mark.parametrize(
    ("texts", "mistaken", "expected"),
    [
        ((*["red"] * 5,), None, Boundary.KNOWN),  # 5/10 already
        ((*["red"] * 4, *["blue"] * 5), None, None),  # 4/10, at most 5/10
        ((*["blue"] * 5,), None, None),  # at most 5/10
        ((*["blue"] * 6,), None, Boundary.UNKNOWN),  # at most 4/10
        ((*["blue"] * 6,), 0.7, None),  # 6/10 agree, 7/10 would be MISTAKEN
        ((*["blue"] * 7,), 0.7, Boundary.MISTAKEN),
        ((*["blue"] * 4, *["green"] * 3), 0.7, None),  # 4 + 3 = 7/10 still possible
        ((*["blue"] * 3, *["green"] * 4, "red"), 0.7, Boundary.UNKNOWN),  # at most 4 + 2
        ((*["I cannot tell."] * 6,), 0.7, Boundary.UNKNOWN),  # at most 0 + 4 agree on a wrong answer
        ((), None, None),
    ],
)
def test_fixed_labels_by_hand(texts: tuple[str, ...], mistaken: float | None, expected: Boundary | None) -> None:
    """K = 10, tau = 0.5."""
    assert fixed_label(texts, QUESTION, k=10, tau=0.5, mistaken=mistaken) is expected


def test_what_needs_no_sample() -> None:
    assert fixed_label((), BEYOND, k=10, tau=0.5, mistaken=0.7) is Boundary.BEYOND_IMAGE
    assert fixed_label((), QUESTION, k=10, tau=0.0, mistaken=0.7) is Boundary.KNOWN
    with pytest.raises(ValueError, match=r"q: 3 samples are more than K = 2; raise sampling\.k"):
        fixed_label(("red",) * 3, QUESTION, k=2, tau=0.5, mistaken=None)


def test_the_label_is_that_of_all_samples_on_ten_thousand_random_cases() -> None:
    """Random K, tau, mistaken and answers, in random order, from sure to even: the first fixed label is the label by all K, also when it is
    drawn from the bounds that a stopped question is stored with."""
    rng, early, seen = random.Random(0), 0, set()
    for _ in range(10_000):
        k = rng.randint(1, 16)
        tau, drawn_mistaken = rng.choice([rng.random(), rng.randint(0, k) / k]), rng.choice([rng.uniform(0.5001, 1), rng.randint(1, k) / k])
        mistaken = drawn_mistaken if drawn_mistaken > 0.5 and rng.random() < 0.7 else None
        weights = [rng.random() ** rng.choice([0, 1, 8]) for _ in SAID]
        texts = tuple(rng.choices(SAID, weights, k=k))
        expected = by_definition(texts, tau, mistaken)
        assert label(texts, tau, mistaken) is expected
        stops = next(n for n in range(k + 1) if fixed_label(texts[:n], QUESTION, k=k, tau=tau, mistaken=mistaken))
        assert fixed_label(texts[:stops], QUESTION, k=k, tau=tau, mistaken=mistaken) is expected
        if stops < k:
            assert label(texts[:stops], tau, mistaken, intended=k) is expected
            early += 1
        seen.add(expected)
    assert seen == {Boundary.KNOWN, Boundary.UNKNOWN, Boundary.MISTAKEN}
    assert 5000 < early < 10_000


def test_no_rule_could_stop_earlier() -> None:
    """Every sequence of up to five samples against every way it can go on: fixed exactly when all completions have one label."""
    words, compared = ("red", "blue", "green", "I cannot tell."), {True: 0, False: 0}
    for k in range(1, 6):
        for tau, mistaken in itertools.product(TAUS, MISTAKEN):
            final = {  # by what the label depends on: how often each word is said
                counts: label(tuple(w for w, n in zip(words, counts, strict=True) for _ in range(n)), tau, mistaken)
                for counts in itertools.product(range(k + 1), repeat=len(words))
                if sum(counts) == k
            }
            for n in range(k):
                for texts in itertools.combinations_with_replacement(words, n):
                    so_far = [texts.count(word) for word in words]
                    reachable = {found for counts, found in final.items() if all(c >= s for c, s in zip(counts, so_far, strict=True))}
                    fixed = fixed_label(texts, QUESTION, k=k, tau=tau, mistaken=mistaken)
                    assert fixed is (next(iter(reachable)) if len(reachable) == 1 else None), (k, tau, mistaken, texts)
                    compared[fixed is not None] += 1
    assert min(compared.values()) > 1000


def test_with_equal_ends_there_is_always_a_label() -> None:
    for c, w in ((0.5, 0.5), (0.4, 0.6), (0.4, 0.5)):
        assert label_between((c, c), (w, w), tau=0.5, mistaken=0.6) is not None
