from __future__ import annotations

import math
from dataclasses import replace

import pytest

from inbol.contracts import Question, ResponseSet
from inbol.probing.confidence import consistency, entropy, estimate

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
BEYOND = Question(key="q", image_key="i", text="who drew the shape?", answerable=False, kind="context-dependent")


def responses(*texts: str, fresh: tuple[str, ...] = (), key: str = "q") -> ResponseSet:
    n = len(texts)
    return ResponseSet(
        key=key, image_key="i", texts=texts, logprobs=tuple(-float(j) for j in range(n)), num_tokens=(2,) * n, fresh_texts=fresh
    )


def test_answerable_question_by_hand() -> None:
    """red x4, Red. x1 (one group of 5, correct), blue x2, and three refusals in two wordings (one group of 3); K = 10.

    accuracy 5/10; consistency 5/10; refused 3/10; entropy -(.5 ln .5 + .2 ln .2 + .3 ln .3) = .3466 + .3219 + .3612 = 1.0297;
    logprob: mean of 0, -1, ..., -9 = -4.5; fresh: one of two correct.
    """
    texts = ("red",) * 4 + ("Red.", "blue", "blue", "I cannot tell.", "Sorry, I do not know.", "I cannot tell.")
    result = estimate(responses(*texts, fresh=("red", "I do not know.")), QUESTION)
    assert result.accuracy == 0.5
    assert result.consistency == 0.5
    assert result.refused == 0.3
    assert result.entropy == pytest.approx(1.0297, abs=1e-4)
    assert result.logprob == -4.5
    assert result.fresh_accuracy == 0.5


def test_beyond_the_image_nothing_is_correct() -> None:
    result = estimate(responses("red", "I cannot tell.", fresh=("red",)), BEYOND)
    assert result.accuracy is None
    assert result.fresh_accuracy is None
    assert result.refused == 0.5


def test_without_fresh_samples_there_is_no_fresh_accuracy() -> None:
    assert estimate(responses("red"), QUESTION).fresh_accuracy is None


def test_extremes_of_agreement() -> None:
    """All alike: share 1, entropy 0. Four different: share 1/4, entropy ln 4."""
    assert (consistency(["a"] * 4), entropy(["a"] * 4)) == (1.0, 0.0)
    assert consistency(list("abcd")) == 0.25
    assert entropy(list("abcd")) == pytest.approx(math.log(4))


def test_mismatches_are_named() -> None:
    with pytest.raises(ValueError, match="responses of other cannot grade question q"):
        estimate(responses("red", key="other"), QUESTION)
    with pytest.raises(ValueError, match="0 texts and 0 logprobs"):
        estimate(responses(), QUESTION)


def test_sampling_that_stopped_early_leaves_bounds_alone() -> None:
    """Five red and a blue of K = 10: the accuracy lies in [5/10, 9/10], the agreement on a wrong answer in [1/10, 5/10]."""
    result = estimate(replace(responses(*["red"] * 5, "blue"), intended=10), QUESTION)
    assert (result.accuracy_bounds, result.agreement_bounds) == ((0.5, 0.9), (0.1, 0.5))
    estimates = (result.accuracy, result.consistency, result.entropy, result.logprob, result.refused, result.fresh_accuracy)
    assert estimates == (None,) * 6
    beyond = estimate(replace(responses(), intended=10), BEYOND)
    assert (beyond.accuracy_bounds, beyond.agreement_bounds, beyond.refused) == ((), (), None)
    with pytest.raises(ValueError, match="sampling of K = 2 stopped early, but there are 2 texts"):
        estimate(replace(responses("red", "red"), intended=2), QUESTION)
