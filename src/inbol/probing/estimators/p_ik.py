"""P(IK): a linear probe from the hidden state at the question's end to the probability that the model knows (arXiv 2207.05221).

Trained on `align-train` alone: logistic regression with a ridge, on the share of samples that are right.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inbol.probing.asks import Ask, Evidence, plain
from inbol.probing.estimators.accuracy import accuracy
from inbol.probing.estimators.base import Estimator, Score

Floats = NDArray[np.float64]
STEPS = 100
TOLERANCE = 1e-10

STATE = Ask(name="state", kind="state", prompts=plain)


def encode_state(values: NDArray[np.floating]) -> str:
    """A hidden state [D] as text. Raises ValueError where it is not finite."""
    if not np.isfinite(values).all():
        raise ValueError("the hidden state holds inf or nan; the model overflows in this precision, load it in bfloat16 or float32")
    limit = float(np.finfo(np.float16).max)
    return base64.b64encode(np.clip(values, -limit, limit).astype("<f2").tobytes()).decode()


def decode_state(text: str) -> Floats:
    """[D] of `encode_state`."""
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float64)


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted logistic regression over standardised features."""

    mean: Floats
    """[D]."""
    scale: Floats
    """[D] standard deviations; 1 where a feature is constant."""
    weights: Floats
    """[D + 1], the bias last."""

    def __call__(self, states: Floats) -> Floats:
        """[N, D] to probabilities [N]."""
        return _sigmoid(_design((states - self.mean) / self.scale) @ self.weights)


def fit_probe(states: Floats, targets: Floats, *, ridge: float) -> Probe:
    """Minimise sum of cross-entropies(target, p) + ridge / 2 |w|^2 over weights and a free bias, by Newton's method with step halving.

    Args:
        states: [N, D].
        targets: [N] shares in [0, 1].
        ridge: > 0, so that the minimum is unique also where D > N.

    Raises:
        ValueError: nothing to fit on.
    """
    if not len(states):
        raise ValueError("P(IK): no answerable question with a hidden state in align-train to train the probe on")
    mean, scale = states.mean(axis=0), states.std(axis=0)
    scale = np.where(scale > 1e-9 * (1 + np.abs(mean)), scale, 1.0)
    x = _design((states - mean) / scale)
    penalty = np.r_[np.full(x.shape[1] - 1, ridge), 1e-9]
    w = np.zeros(x.shape[1])

    def loss(w: Floats) -> float:
        z = x @ w
        return float((np.logaddexp(0, z) - targets * z).sum() + 0.5 * penalty @ (w * w))

    for _ in range(STEPS):
        p = _sigmoid(x @ w)
        gradient = x.T @ (p - targets) + penalty * w
        if np.abs(gradient).max() <= TOLERANCE * len(x):
            break
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty), gradient)
        now, size = loss(w), 1.0
        while loss(w - size * step) > now and size > 1e-8:
            size /= 2
        w = w - size * step
    return Probe(mean, scale, w)


def fit(train: Sequence[Evidence], ridge: float) -> Score:
    """The probe of these questions as an estimator."""
    states = [_state(evidence) for evidence in train]
    probe = fit_probe(np.array(states), np.array([accuracy(evidence) for evidence in train]), ridge=ridge)
    return lambda evidence: float(probe(_state(evidence)[None])[0])


def _state(evidence: Evidence) -> Floats:
    if evidence.probed is None or not evidence.probed.state:
        raise ValueError(f"{evidence.question.key}: no hidden state was collected; the stage `probe` needs the ask {STATE.name!r}")
    return decode_state(evidence.probed.state)


def _design(features: Floats) -> Floats:
    return np.c_[features, np.ones(len(features))]


def _sigmoid(z: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


P_IK = Estimator(
    name="p-ik",
    title="P(IK) probe",
    source="arXiv 2207.05221; linear",
    unit="probability, in [0, 1]",
    probability=True,
    asks=(STATE,),
    fit=fit,
)
