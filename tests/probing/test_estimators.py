"""Every estimator by hand, and what must hold for all: samples have no order, refusals are the lowest, names are those of `confidence=`."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbol.config.estimating import ESTIMATORS as CONFIGURED
from inbol.contracts import Probed, Question, Reply, ResponseSet
from inbol.probing.asks import Evidence
from inbol.probing.confidence import estimate as record
from inbol.probing.estimators import informativeness, p_true
from inbol.probing.estimators.registry import ASKS, ESTIMATORS, asks_of

QUESTION = Question(key="q", image_key="i", text="what color is the shape?", answers=("red",), kind="color")
NO = "I do not know."


def samples(*texts: str, logprobs: tuple[float, ...] = (), tokens: tuple[int, ...] = ()) -> ResponseSet:
    n = len(texts)
    return ResponseSet(key="q", image_key="i", texts=texts, logprobs=logprobs or (-1.0,) * n, num_tokens=tokens or (2,) * n)


def reply(ask: str, **logprobs: float) -> Reply:
    """A reply with a text and a log-probability each; `_` in a name is a blank."""
    texts = tuple(name.replace("_", " ").strip() for name in logprobs)
    return Reply(ask=ask, texts=texts, logprobs=tuple(logprobs.values()), num_tokens=(2,) * len(texts))


def evidence(responses: ResponseSet | None = None, *replies: Reply, groups: tuple[int, ...] = ()) -> Evidence:
    return Evidence(QUESTION, responses or samples("red"), Probed(key="q", image_key="i", replies=replies, groups=groups))


def score(name: str, *args: Evidence) -> float:
    function = ESTIMATORS[name].estimate
    assert function is not None
    return function(*args)


RED = reply("answer", red=math.log(0.25))
"""The greedy answer "red", of probability 1/4, two tokens."""
REFUSED = Reply(ask="answer", texts=(NO,), logprobs=(-0.1,), num_tokens=(4,))


def test_names_are_those_of_the_configuration_and_asks_are_unique() -> None:
    assert tuple(ESTIMATORS) == CONFIGURED
    assert all(ESTIMATORS[name].name == name and ASKS[ask.name] is ask for name in ESTIMATORS for ask in ESTIMATORS[name].asks)
    assert asks_of(["p-true", "verbalised"]) == ("answer", "is-true", "how-sure")
    assert asks_of(["accuracy", "semantic-entropy"]) == ()


def test_accuracy_by_hand() -> None:
    """2 right, 1 wrong, 1 refusal of 4: 1/2; the same as the record of the stage `confidence`."""
    drawn = samples("red", "Red.", "blue", NO)
    assert score("accuracy", Evidence(QUESTION, drawn)) == 0.5 == record(drawn, QUESTION).accuracy


def test_self_consistency_by_hand() -> None:
    """blue x2 of 5 with two refusals: 2/5, although refusing is as frequent. By entailment red and scarlet are one: 2/4. All refuse: 0."""
    assert score("self-consistency", Evidence(QUESTION, samples("blue", "Blue", "red", NO, NO))) == 0.4
    drawn = samples("red", "scarlet", "blue", NO)
    assert score("self-consistency", Evidence(QUESTION, drawn)) == 0.25
    assert score("self-consistency", evidence(drawn, groups=(1, 1, 0, 2))) == 0.5
    assert score("self-consistency", Evidence(QUESTION, samples(NO, "I cannot tell."))) == 0.0


def test_sequence_probability_by_hand() -> None:
    assert score("sequence-probability", evidence(None, RED)) == pytest.approx(0.25)
    assert score("sequence-probability", evidence(None, REFUSED)) == 0.0


def test_semantic_entropy_by_hand() -> None:
    """Token means ln .8 (red), ln .2 (Red.), ln .6 (blue), ln .4 (blue): groups weigh 1 and 1, so SE = ln 2. Likelihoods count: with
    ln .2, ln .1 for blue it is 1/1.3 and .3/1.3, SE = .5402. Refusals on top: the worst, -ln K.
    """
    means = (0.8, 0.2, 0.6, 0.4)
    logprobs = tuple(length * math.log(p) for p, length in zip(means, (1, 2, 3, 4)))
    drawn = samples("red", "Red.", "blue", "blue", logprobs=logprobs, tokens=(1, 2, 3, 4))
    assert score("semantic-entropy", Evidence(QUESTION, drawn)) == pytest.approx(-math.log(2))
    less = replace(drawn, logprobs=(*logprobs[:2], 3 * math.log(0.2), 4 * math.log(0.1)))
    p = 1 / 1.3
    assert score("semantic-entropy", Evidence(QUESTION, less)) == pytest.approx(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert score("semantic-entropy", evidence(drawn, groups=(0, 0, 0, 0))) == 0.0
    assert score("semantic-entropy", Evidence(QUESTION, samples(NO, NO, "red"))) == -math.log(3)


def test_p_true_by_hand() -> None:
    """P(A) = .3, P(B) = .1 among everything: 3/4 between the two. The prompt shows what was sampled, most frequent first, no refusal."""
    scored = reply("is-true", A=math.log(0.3), B=math.log(0.1))
    assert score("p-true", evidence(None, RED, scored)) == pytest.approx(0.75)
    assert score("p-true", evidence(None, REFUSED)) == 0.0
    (prompt,) = p_true.prompts(evidence(samples("blue", "red", "Red.", NO, "azure"), RED))
    assert "Brainstormed answers: red, azure, blue\nPossible answer: red\n" in prompt
    assert p_true.prompts(evidence(None, REFUSED)) == ()


def test_verbalised_by_hand() -> None:
    """Half on 0, half on 100: .5; all on 80: .8, to the tenth digit; uniform: .5."""
    far = -60.0
    both = {str(level): (math.log(0.5) if level in (0, 100) else far) for level in range(0, 101, 10)}
    eighty = {str(level): (0.0 if level == 80 else far) for level in range(0, 101, 10)}
    assert score("verbalised", evidence(None, RED, reply("how-sure", **both))) == pytest.approx(0.5)
    assert score("verbalised", evidence(None, RED, reply("how-sure", **eighty))) == pytest.approx(0.8)
    assert score("verbalised", evidence(None, RED, reply("how-sure", **dict.fromkeys(both, -3.0)))) == pytest.approx(0.5)


def test_stable_explanations_by_hand() -> None:
    """P(entailed) 3/4 and 1/4, P(answer | explanation) .8 and .4: (.75 x .8 + .25 x .4) / 1 = .7."""
    yes, no = (reply("entailed", Yes=math.log(p), No=math.log(1 - p)) for p in (0.75, 0.25))
    given_ = [reply("given-explanation", red=math.log(p)) for p in (0.8, 0.4)]
    assert score("stable-explanations", evidence(None, RED, yes, no, *given_)) == pytest.approx(0.7)
    assert score("stable-explanations", evidence(None, REFUSED)) == 0.0
    said = Reply(ask="explain", texts=("it is round", "the hue"), logprobs=(-1.0, -2.0), num_tokens=(3, 3))
    prompts = ASKS["entailed"].prompts(evidence(None, RED, said))
    assert len(prompts) == 2 and "Explanation: the hue\n" in prompts[1]
    assert ASKS["given-explanation"].options(evidence(None, RED, said)) == ("red",)


def test_sure_unsure_by_hand() -> None:
    """Geometric mean of two tokens of 1/4 together: 1/2. P(sure) = .9: half of each is .7."""
    scored = Reply(ask="sure", texts=("I am sure.", "I am unsure."), logprobs=(math.log(0.09), math.log(0.01)), num_tokens=(4, 4))
    assert score("sure-unsure", evidence(None, RED, scored)) == pytest.approx(0.7)
    assert score("sure-unsure", evidence(None, REFUSED)) == 0.0


def test_blind_image_by_hand() -> None:
    """Three times as probable with the image: 3/4. The same: 1/2. A thousand nats apart: 1 and 0, no overflow."""
    for seen, blind, expected in ((0.3, 0.1, 0.75), (0.2, 0.2, 0.5)):
        both = reply("seen", red=math.log(seen)), reply("blind", red=math.log(blind))
        assert score("blind-image", evidence(None, RED, *both)) == pytest.approx(expected)
    assert score("blind-image", evidence(None, RED, reply("seen", red=-1.0), reply("blind", red=-1e3))) == 1.0
    assert score("blind-image", evidence(None, RED, reply("seen", red=-1e3), reply("blind", red=-1.0))) == 0.0


def ladder(*rungs: tuple[str, ...]) -> list[Reply]:
    asks = informativeness.LADDER
    return [Reply(ask=ask.name, texts=texts, logprobs=(), num_tokens=()) for ask, texts in zip(asks, rungs, strict=True)]


def test_informativeness_by_hand() -> None:
    """Blank: four answers, ln 4. A quarter and half of the image: two answers, ln 2 each. All of it: one, 0. Mean drop 4/3 ln 2."""
    four, two = ("red", "blue", "teal", "gray"), ("red", "red", "blue", "Blue")
    assert score("informativeness", evidence(samples(*("red",) * 4), *ladder(four, two, two))) == pytest.approx(4 / 3 * math.log(2))
    assert score("informativeness", evidence(samples(*four), *ladder(two, two, two))) == pytest.approx(-math.log(2))
    assert score("informativeness", evidence(samples(NO, NO, "red", "teal"), *ladder(four, two, two))) == -math.log(4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["red", "Red.", "blue", "teal", NO, "I cannot tell."]), min_size=1, max_size=8), st.integers(0, 99))
def test_samples_have_no_order_and_duplicated_sets_change_nothing(texts: list[str], seed: int) -> None:
    """Permuted, every number stays; twice the same samples are the same shares. Only the floor -ln K depends on K itself."""
    rng = random.Random(seed)
    logprobs = [rng.uniform(-5, -0.1) for _ in texts]
    order = rng.sample(range(len(texts)), len(texts))
    whole = samples(*texts, logprobs=tuple(logprobs))
    moved = samples(*(texts[n] for n in order), logprobs=tuple(logprobs[n] for n in order))
    twice = samples(*texts, *texts, logprobs=(*logprobs, *logprobs))
    replies = (RED, *ladder(("red", "blue"), ("red", "red"), ("teal", NO)))
    for name in ("accuracy", "self-consistency", "semantic-entropy", "informativeness"):
        value = score(name, evidence(whole, *replies))
        assert score(name, evidence(moved, *replies)) == pytest.approx(value, abs=1e-12)
        if value != -math.log(len(texts)):
            assert score(name, evidence(twice, *replies)) == pytest.approx(value, abs=1e-12)
        if ESTIMATORS[name].probability:
            assert 0 <= value <= 1
        else:
            assert abs(value) <= math.log(max(len(texts), 2)) + 1e-12
    assert p_true.prompts(evidence(whole, RED)) == p_true.prompts(evidence(moved, RED))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="needs the ask 'is-true'"):
        score("p-true", Evidence(QUESTION, samples("red")))
    with pytest.raises(ValueError, match="no greedy answer was collected"):
        score("sequence-probability", evidence())
    with pytest.raises(ValueError, match=r"are not all K; sample with sampling\.stop=never"):
        score("accuracy", Evidence(QUESTION, replace(samples("red"), intended=10)))
    with pytest.raises(ValueError, match="2 groups for 1 samples"):
        score("semantic-entropy", evidence(groups=(0, 1)))
