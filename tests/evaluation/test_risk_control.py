"""Risk control: numbers by hand, and the promise kept over many draws of a made-up world with clusters."""

from __future__ import annotations

import dataclasses
from math import e

import numpy as np
import pytest

from inbol.evaluation.risk_control import (
    Promise,
    Responses,
    achieved,
    betting,
    choose,
    conformal_threshold,
    divide,
    first_failure,
    hoeffding_bentkus,
    image_losses,
    smallest_level,
)


def responses(image: list[int], score: list[float], value: list[int], answerable: list[bool] | None = None) -> Responses:
    able = [True] * len(image) if answerable is None else answerable
    return Responses(np.array(image), np.array(score, dtype=float), np.array(value, dtype=np.int8), np.array(able))


def world(rng: np.random.Generator, images: int, questions: int = 4) -> Responses:
    """Scores even in [0, 1]; a question is wrong with probability .3 x score x e, where e is 0 or 2 for a whole image: strong clusters.

    So the risk among scores below t is .15 t, and that among all that is asked .15 t^2.
    """
    image = np.repeat(np.arange(images), questions)
    score = rng.random(len(image))
    wrong = rng.random(len(image)) < 0.3 * score * rng.choice([0.0, 2.0], images)[image]
    return Responses(image, score, np.where(wrong, -1, 1).astype(np.int8), np.ones(len(image), dtype=bool))


def test_hoeffding_bentkus_by_hand() -> None:
    """n 10, level 1/2, mean 0: Hoeffding exp(-10 ln 2) = 1/1024 is below Bentkus e/1024. n 20, mean .1: h = .1 ln .2 + .9 ln 1.8 = .36806,
    exp(-7.361) = 6.35e-4; Bentkus e x (1 + 20 + 190) / 2^20 = 5.47e-4 is below. A mean at the level says nothing."""
    assert hoeffding_bentkus(np.array([0.0]), 10, 0.5)[0] == pytest.approx(1 / 1024)
    assert hoeffding_bentkus(np.array([0.1]), 20, 0.5)[0] == pytest.approx(e * 211 / 2**20)
    assert hoeffding_bentkus(np.array([0.5, 0.9]), 20, 0.5).tolist() == [1.0, 1.0]


def test_betting_by_hand() -> None:
    """Two losses of 0 at level 1/2: both bets are capped at 1, the capital is 1.5, then 2.25. A loss of 1 first: 1/2, then 3/4; the capital
    never rises above where it began, so p = 1."""
    losses = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert betting(losses, 0.5, delta=0.1).tolist() == pytest.approx([1 / 2.25, 1.0])


def test_p_values_are_valid_at_the_edge() -> None:
    """Expectation exactly at the level: P(p <= .1) is at most .1, for coins and for clustered means alike."""
    rng = np.random.default_rng(0)
    coins = (rng.random((200, 2000)) < 0.1).astype(float)
    clusters = rng.binomial(5, 0.1, (200, 2000)) / 5
    for losses in (coins, clusters):
        assert (betting(losses, 0.1, delta=0.1) <= 0.1).mean() <= 0.1
        assert (hoeffding_bentkus(losses.mean(axis=0), 200, 0.1) <= 0.1).mean() <= 0.1


def test_betting_sees_that_clustered_means_vary_little() -> None:
    """Means of five at half the level: betting is far surer."""
    losses = np.random.default_rng(1).binomial(5, 0.05, (200, 1)) / 5
    assert betting(losses, 0.1, delta=0.1)[0] < 0.1 * hoeffding_bentkus(losses.mean(axis=0), 200, 0.1)[0]


def test_the_loss_of_an_image_by_hand() -> None:
    """Level 1/4, at most two questions. Image 0 answers two, one wrong: 1/4 + (3/4 - 1/4) / 2 = 1/2. Image 1 answers one, right:
    1/4 - 1/4 / 2 = 1/8. Below score 2 alone image 0 answers one, wrong: 1/4 + 3/8 = 5/8; image 1 nothing: 1/4."""
    made = responses([0, 0, 1, 1], [1, 2, 2, 9], [-1, 1, 1, 0])
    losses = image_losses(made, np.array([2.0, np.inf]), Promise(level=0.25))
    assert losses.T.tolist() == [[0.625, 0.25], [0.5, 0.125]]


@pytest.mark.parametrize("level", [0.1, 0.25, 1 / 3, 0.5])
def test_the_mean_loss_is_below_the_level_where_the_ratio_is(level: float) -> None:
    made = responses([0, 0, 0, 1, 2, 2], [1, 2, 3, 1, 1, 5], [-1, 1, 1, 1, 1, 0])
    risk, _ = achieved(made, np.inf, Promise(level=level))
    assert risk == 0.2
    assert (image_losses(made, np.array([np.inf]), Promise(level=level)).mean() <= level) == (risk <= level)


def test_costs_by_hand() -> None:
    """A wrong answer costs 2, refusing an answerable question 1, beyond the image nothing. Image 0: wrong, refused beyond the image:
    (2 + 0) / 2; image 1: refused though answerable: 1. In shares of 2: 1/2 and 1/2; mean cost 1."""
    made = responses([0, 0, 1], [1, 1, 1], [-1, 0, 0], [True, False, True])
    config = Promise(risk="cost", wrong_cost=2.0, refusal_cost=1.0, level=0.5)
    assert image_losses(made, np.array([np.inf]), config)[:, 0].tolist() == [0.5, 0.5]
    assert achieved(made, np.inf, config) == (1.0, 1 / 3)


@pytest.mark.parametrize("risk", ["wrong", "cost"])
def test_the_conformal_bound_is_that_of_the_image_losses(risk: str) -> None:
    """At the chosen threshold (n mean L + 1) / (n + 1) is below the level, and just above it no longer."""
    made = world(np.random.default_rng(2), 60)
    config = Promise(risk=risk, level=0.06)
    threshold = conformal_threshold(made, config)
    assert threshold is not None
    losses = image_losses(made, np.array([threshold, np.nextafter(threshold, 1)]), config).mean(axis=0)
    at, above = (60 * losses + 1) / 61
    assert at <= 0.06 < above


def test_conformal_threshold_by_hand() -> None:
    """Four images, wrong at scores 2 and 4: (wrong + 1) / 5 <= level. Level .5 allows one, so all below 4 is answered; .2 none, so all
    below 2; .1 is below 1/5: nothing can be promised, and .2 is the smallest level."""
    made = responses([0, 1, 2, 3], [1, 2, 3, 4], [1, -1, 1, -1])
    config = Promise(risk="wrong", level=0.5)
    levels = {level: conformal_threshold(made, dataclasses.replace(config, level=level)) for level in (0.7, 0.5, 0.2, 0.1)}
    assert levels == {0.7: np.inf, 0.5: 4.0, 0.2: 2.0, 0.1: None}
    assert choose(made, dataclasses.replace(config, level=0.1)) is None
    assert smallest_level(made, config) == 0.2


def test_fixed_sequence_stops_at_the_first_that_is_not_rejected() -> None:
    assert [first_failure(np.array(p), 0.1) for p in ([0.01, 0.1, 0.2, 0.0], [0.2, 0.0], [0.0, 0.05])] == [2, 0, 2]


def test_an_image_is_never_divided() -> None:
    made = world(np.random.default_rng(0), 40)
    learn, test = divide(made, Promise())
    assert (learn.images, test.images) == (10, 30)
    assert all(np.bincount(part.image).tolist() == [4] * part.images for part in (learn, test))
    assert sorted([*learn.score, *test.score]) == sorted(made.score)


def test_the_promise_about_answered_questions_is_kept() -> None:
    """200 draws of 500 images: the true risk .15 t is above the level .08 (t > .533) in at most a tenth of them. Taking the largest
    threshold whose risk on the draw is below the level, as one is tempted to, breaks it in about half."""
    config, rng, broken, tempted, found = Promise(level=0.08), np.random.default_rng(3), 0, 0, 0
    for _ in range(200):
        made = world(rng, 500)
        choice = choose(made, config)
        found += choice is not None
        broken += choice is not None and choice.threshold > 0.08 / 0.15
        order = np.argsort(made.score)
        risk = np.cumsum(made.value[order] == -1) / np.arange(1, len(order) + 1)
        tempted += made.score[order][np.flatnonzero(risk <= 0.08)[-1]] > 0.08 / 0.15
    assert broken <= 20
    assert tempted > 70
    assert found > 100


def test_hoeffding_bentkus_needs_more_images() -> None:
    """Level .25, true risk at most .15: on 60 images betting finds a threshold in nearly every draw, and Hoeffding-Bentkus in few; on 200
    both do."""

    def found(images: int, p_value: str) -> int:
        rng, config = np.random.default_rng(0), Promise(level=0.25, p_value=p_value)
        return sum(choose(world(rng, images), config) is not None for _ in range(20))

    assert found(60, "betting") >= 18
    assert found(60, "hoeffding-bentkus") <= 6
    assert found(200, "hoeffding-bentkus") >= 18


def test_the_promise_about_all_that_is_asked_is_kept_and_used() -> None:
    """Conformal risk control at level .06: .15 t^2 is below it in the mean over draws, and not far below."""
    config, rng = Promise(risk="wrong", level=0.06), np.random.default_rng(4)
    risks = []
    for _ in range(300):
        choice = choose(world(rng, 100), config)
        assert choice is not None
        risks.append(0.15 * min(choice.threshold, 1.0) ** 2)
    assert 0.05 < np.mean(risks) <= 0.06


def test_a_tested_promise_about_all_that_is_asked_is_kept_draw_by_draw() -> None:
    """Level .06, true risk .15 t^2, so above it from t = .632 on: conformal risk control promises the mean alone and is above it in many
    of 200 draws of 300 images, the tested promise in at most a tenth of them, and it does find thresholds."""

    def broken(guarantee: str) -> tuple[int, int]:
        config, rng = Promise(risk="wrong", level=0.06, guarantee=guarantee), np.random.default_rng(6)
        choices = [choose(world(rng, 300), config) for _ in range(200)]
        found = [choice.threshold for choice in choices if choice is not None]
        return sum(threshold > (0.06 / 0.15) ** 0.5 for threshold in found), len(found)

    assert broken("auto")[0] > 40
    above, promised = broken("tested")
    assert above <= 20
    assert promised > 180


def test_what_cannot_be_promised_has_a_smallest_level() -> None:
    """Every answer is wrong half of the time whatever its score: no level below a half can be promised, and the smallest one works."""
    rng = np.random.default_rng(5)
    value = rng.choice([-1, 1], 800).astype(np.int8)
    made = Responses(np.repeat(np.arange(200), 4), rng.random(800), value, np.ones(800, dtype=bool))
    config = Promise(level=0.2)
    assert choose(made, config) is None
    least = smallest_level(made, config)
    assert least is not None
    assert 0.5 < least < 0.7
    assert choose(made, dataclasses.replace(config, level=least)) is not None


def test_one_image_promises_nothing() -> None:
    with pytest.raises(ValueError, match="1 images are too few"):
        choose(responses([0], [1.0], [1]), Promise())
