"""A threshold on a score so that the risk of what is still answered stays below a stated level, with a finite-sample guarantee.

A response is answered where its score u is below the threshold t, and refused from t on; what the model itself refuses stays refused.

Questions about one image fail together, so the units are whole images, each with one loss L_i(t) in [0, 1]. Assumed is that validation and
later images are drawn alike: exchangeable for conformal risk control, independent for the tests. Nothing is assumed about the model, the
score, or the questions within an image, and nothing is promised for images of another kind.

Monotone risks: conformal risk control (arXiv 2208.02814), t = sup {t: n/(n+1) mean L(t) + 1/(n+1) <= level}, promises
E[L(t)] <= level over the draw of the n validation images and the next one.

Other risks, and these where a draw and not the mean is to be promised about: Learn then Test (arXiv 2110.01052). H_t, "the risk at t is
above the level", has a p-value per threshold. A part of the images says which thresholds are tested, in which order (split fixed-sequence
testing); the others test them at delta, in that order, until one is not rejected. P(risk of any rejected t > level) <= delta over the
draw of the validation images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from inbol.evaluation.metrics import Floats, Mask, Measure, Ratio, Values

CANDIDATES = 100
"""Thresholds that are tested at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is to be promised, and how a threshold for it is looked for."""

    level: float = 0.05
    """The risk stays at or below this."""
    risk: str = "selective"
    """`selective`: share of wrong ones among the answered. `wrong`: share of an image's questions that are answered wrongly. `cost`: mean
    of wrong_cost for a wrong answer and refusal_cost for refusing an answerable question."""
    wrong_cost: float = 1.0
    refusal_cost: float = 0.0
    delta: float = 0.1
    """Share of the draws of validation images in which the promise may fail, where it is tested."""
    p_value: str = "betting"
    """`betting` or `hoeffding-bentkus`, where it is tested."""
    learn_share: float = 0.25
    """Share of the images that say which thresholds are tested."""
    seed: int = 0
    """Of the order of the images."""
    guarantee: str = "auto"
    """`auto`: in expectation where that needs no test. `tested`: for 1 - delta of the draws in any case."""

    @property
    def in_expectation(self) -> bool:
        """Whether the promise is about the mean over draws: refusing more never raises the risk, and nothing stricter is asked for."""
        monotone = self.risk == "wrong" or (self.risk == "cost" and self.refusal_cost == 0)
        return monotone and self.guarantee == "auto"


@dataclass(frozen=True, slots=True)
class Responses:
    """Columns of N graded responses of one system."""

    image: NDArray[np.int64]
    """[N] number of the image, from 0 on without gaps."""
    score: Floats
    """[N] what is refused first has the highest."""
    value: Values
    """[N] +1 correct, 0 refused by the model itself, -1 wrong (every answer to a question beyond the image)."""
    answerable: Mask
    """[N]."""

    @property
    def images(self) -> int:
        """Their number."""
        return int(self.image.max(initial=-1)) + 1

    def of(self, images: NDArray[np.int64]) -> Responses:
        """The responses about these images, which get the numbers 0, 1, ... in the order given."""
        number = np.full(self.images, -1, dtype=np.int64)
        number[images] = np.arange(len(images))
        kept = number[self.image] >= 0
        return Responses(number[self.image[kept]], self.score[kept], self.value[kept], self.answerable[kept])


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold that can be promised."""

    threshold: float
    """Responses with a score at or above it are refused; inf refuses none."""
    risk: float | None
    """On all validation images at this threshold; None where none is answered."""
    coverage: float
    """Share answered there."""
    p_value: float | None
    """Of the test that rejected; None for conformal risk control."""
    images: int
    """Validation images that the promise rests on."""
    questions: int
    """About them."""


def choose(responses: Responses, promise: Promise) -> Choice | None:
    """The threshold that answers most among those that the level can be promised for; None where there is none.

    Raises:
        ValueError: fewer than two images.
    """
    if responses.images < 2:
        raise ValueError(f"risk: {responses.images} images are too few to promise anything on; at least 2 are needed")
    if promise.in_expectation:
        threshold = conformal_threshold(responses, promise)
        return None if threshold is None else _choice(responses, responses, promise, threshold, None)
    learn, test = divide(responses, promise)
    candidates = _candidates(learn)
    start = int(np.argmin(p_values(learn, candidates, promise)))
    sequence = candidates[start:]
    p = p_values(test, sequence, promise)
    rejected = first_failure(p, promise.delta)
    if rejected == 0:
        return None
    return _choice(responses, test, promise, float(sequence[rejected - 1]), float(p[rejected - 1]))


def smallest_level(responses: Responses, promise: Promise) -> float | None:
    """The smallest level, to three digits, for which these images would have given a threshold; None where there is none below 1."""
    top = max(promise.wrong_cost, promise.refusal_cost) if promise.risk == "cost" else 1.0
    low, high = 0, 1000
    while low < high:  # p-values fall with the level, so the levels that can be promised are an interval
        middle = (low + high) // 2
        if middle and choose(responses, replace(promise, level=top * middle / 1000)) is not None:
            high = middle
        else:
            low = middle + 1
    return top * low / 1000 if low < 1000 else None


def divide(responses: Responses, promise: Promise) -> tuple[Responses, Responses]:
    """(part that thresholds are learnt on, part that they are tested on), by whole images, at least one each."""
    order = np.random.default_rng(promise.seed).permutation(responses.images)
    count = min(max(1, round(promise.learn_share * len(order))), len(order) - 1)
    return responses.of(order[:count]), responses.of(order[count:])


def _candidates(learn: Responses) -> Floats:
    """Thresholds in rising order, quantiles of the scores of what is answered, and inf at the end."""
    scores = learn.score[learn.value != 0]
    if not len(scores):
        return np.array([np.inf])
    quantiles = np.quantile(scores, np.linspace(0, 1, CANDIDATES, endpoint=False)[1:], method="inverted_cdf")
    return np.append(np.unique(quantiles), np.inf)


def first_failure(p: Floats, delta: float) -> int:
    """How many hypotheses fixed-sequence testing rejects: those before the first p-value above delta."""
    above = p > delta
    return int(np.argmax(above)) if above.any() else len(p)


def achieved(responses: Responses, threshold: float, promise: Promise) -> tuple[float | None, float]:
    """(risk, coverage) of these responses at a threshold; no risk where none is answered."""
    coverage = ((responses.value != 0) & (responses.score < threshold)).mean()
    return risk_measure(responses, threshold, promise).value, float(coverage)


def risk_measure(responses: Responses, threshold: float, promise: Promise) -> Measure:
    """The risk as a ratio of sums over images, for a bootstrap. `selective` counts questions, the other risks are means over images."""
    if promise.risk == "selective":
        answered = (responses.value != 0) & (responses.score < threshold)
        sums = _by_image(responses, np.stack([answered & (responses.value == -1), answered], axis=1))
        return Measure((Ratio(sums[:, 0], sums[:, 1]),), n=int(answered.sum()))
    losses = image_losses(responses, np.array([threshold]), promise)[:, 0] * promise.level / scaled_level(promise)
    return Measure((Ratio(losses, np.ones(len(losses))),), n=len(responses.value))


def image_losses(responses: Responses, thresholds: Floats, promise: Promise) -> Floats:
    """One loss per image and threshold, in [0, 1]; its mean is compared with `scaled_level`.

    selective: with a_q answered, w_q wrong, m the most questions of an image, L_i = level + (1/m) sum_q a_q (w_q - level). The ratio
    sum a w / sum a is at most the level exactly where E[L_i] is; m is the validation images' own, so it must bound later images too.
    wrong, cost: the mean over the image's questions, divided by the larger cost: every image counts alike.

    Args:
        thresholds: [G].

    Returns:
        [images, G].
    """
    answered = (responses.value != 0)[:, None] & (responses.score[:, None] < thresholds)
    wrong = (responses.value == -1)[:, None]
    counts = np.bincount(responses.image, minlength=responses.images).astype(np.float64)
    if promise.risk == "selective":
        return promise.level + _by_image(responses, answered * (wrong - promise.level)) / counts.max()
    if promise.risk == "wrong":
        return _by_image(responses, answered & wrong) / counts[:, None]
    top = max(promise.wrong_cost, promise.refusal_cost)
    refused = ~answered & responses.answerable[:, None]
    cost = promise.wrong_cost * (answered & wrong) + promise.refusal_cost * refused
    return _by_image(responses, cost) / counts[:, None] / top


def scaled_level(promise: Promise) -> float:
    """What the mean of `image_losses` is held against."""
    return promise.level / max(promise.wrong_cost, promise.refusal_cost) if promise.risk == "cost" else promise.level


def _by_image(responses: Responses, amounts: NDArray[np.generic]) -> Floats:
    """Sums over the questions of each image, [N, G] -> [images, G]."""
    sums = np.zeros((responses.images, amounts.shape[1]))
    np.add.at(sums, responses.image, amounts)
    return sums


def conformal_threshold(responses: Responses, promise: Promise) -> float | None:
    """The largest threshold with n/(n+1) mean L + 1/(n+1) <= level (arXiv 2208.02814, with B = 1); None where not even refusing all will
    do, since 1/(n+1) alone is above the level."""
    n, answered = responses.images, responses.value != 0
    order = np.argsort(responses.score[answered])
    scores = responses.score[answered][order]
    # every monotone risk counts a wrong answer as its share of its image, and nothing else
    shares = (responses.value == -1) / np.bincount(responses.image, minlength=n)[responses.image]
    sums = np.concatenate([[0.0], np.cumsum(shares[answered][order])])
    places = np.append(np.unique(scores), np.inf)  # the loss rises just above each
    bound = (sums[np.searchsorted(scores, places)] + 1) / (n + 1)
    kept = np.flatnonzero(bound <= scaled_level(promise) + 1e-12)
    return float(places[kept[-1]]) if len(kept) else None


def p_values(responses: Responses, thresholds: Floats, promise: Promise) -> Floats:
    """[G] p-value of "the risk at this threshold is above the level"."""
    losses, level = image_losses(responses, thresholds, promise), scaled_level(promise)
    if promise.p_value == "betting":
        return betting(losses, level, delta=promise.delta)
    return hoeffding_bentkus(losses.mean(axis=0), len(losses), level)


def hoeffding_bentkus(mean: Floats, n: int, level: float) -> Floats:
    """p-value of "the expectation is above the level" for n losses in [0, 1] (arXiv 2110.01052, after arXiv 2101.02703).

    min(exp(-n h(min(mean, level), level)), e P(Bin(n, level) <= ceil(n mean))), h(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b)).
    """
    if level >= 1:
        return np.zeros_like(mean)
    a = np.minimum(mean, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = (1 - a) * np.log((1 - a) / (1 - level))
        h = np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / level), 0) + rest
    k = np.arange(n + 1)
    logs = np.array([lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) for i in k]) + k * np.log(level) + (n - k) * np.log1p(-level)
    below = np.minimum(np.cumsum(np.exp(logs)), 1.0)
    bentkus = np.e * below[np.clip(np.ceil(n * mean - 1e-9).astype(int), 0, n)]
    return np.minimum(1.0, np.minimum(np.exp(-n * h), bentkus))


def betting(losses: Floats, level: float, *, delta: float) -> Floats:
    """p-value of "the expectation is above the level" for independent losses in [0, 1] by betting against it (arXiv 2010.09686,
    with the bets of arXiv 2101.02703).

    The capital K_j = prod_{i<=j} (1 - nu_i (L_i - level)) is expected not to grow where the expectation is above the level, if nu_i in
    [0, 1] is set before L_i is seen; so 1 / max_j K_j is a p-value (Ville). nu_i = min(1, sqrt(2 ln(1/delta) / (n s^2_{i-1}))), where
    s^2 is the variance so far. Small variances, as of means over an image's questions, give far smaller p-values than Hoeffding-Bentkus.

    Args:
        losses: [n, G], in an order that does not depend on them.
        delta: what the bets are tuned for; valid at every level all the same.

    Returns:
        [G].
    """
    n, count = losses.shape
    steps = np.arange(1, n + 1)[:, None]
    mean = (0.5 + np.cumsum(losses, axis=0)) / (1 + steps)
    variance = (0.25 + np.cumsum((losses - mean) ** 2, axis=0)) / (1 + steps)
    before = np.vstack([np.full((1, count), 0.25), variance[:-1]])
    nu = np.minimum(1.0, np.sqrt(2 * np.log(1 / delta) / (n * before)))
    capital = np.cumsum(np.log1p(-nu * (losses - level) * (1 - 1e-12)), axis=0)
    return np.exp(-np.maximum(0.0, capital.max(axis=0)))


def _choice(responses: Responses, used: Responses, promise: Promise, threshold: float, p: float | None) -> Choice:
    risk, coverage = achieved(responses, threshold, promise)
    return Choice(threshold, risk, coverage, p, used.images, len(used.value))
