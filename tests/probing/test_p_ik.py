"""The linear probe: its optimum against libraries, states through text, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inbol.contracts import Probed, Question, ResponseSet
from inbol.probing.asks import Evidence
from inbol.probing.estimators.p_ik import decode_state, encode_state, fit, fit_probe

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(60, 7)) * np.array([1, 5, 0.1, 1, 1, 1, 0]) + 3.0
TARGETS = RNG.integers(0, 5, size=60) / 4
RIDGE = 2.0


def standardised() -> np.ndarray:
    scale = STATES.std(axis=0)
    return (STATES - STATES.mean(axis=0)) / np.where(scale > 1e-9, scale, 1.0)


def test_two_points_by_hand() -> None:
    """States -1 and 1, targets 0 and 1, ridge 1: w solves w = 2 / (1 + exp(w)), that is w = .6748; p(1) = 1 / (1 + exp(-w)) = .6626."""
    probe = fit_probe(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]), ridge=1.0)
    assert probe(np.array([[1.0], [0.0], [-1.0]])) == pytest.approx([0.6626, 0.5, 0.3374], abs=1e-4)
    w = probe.weights[0]
    assert w == pytest.approx(2 / (1 + np.exp(w)), abs=1e-9)


def test_the_optimum_is_that_of_torch() -> None:
    """The same loss, minimised by L-BFGS."""
    x = torch.tensor(standardised())
    w, b = torch.zeros(7, dtype=torch.float64, requires_grad=True), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w, b], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = x @ w + b
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(TARGETS), reduction="sum") + RIDGE / 2 * w @ w
        loss.backward()
        return loss

    optimiser.step(closure)
    probe = fit_probe(STATES, TARGETS, ridge=RIDGE)
    assert probe.weights == pytest.approx([*w.tolist(), *b.tolist()], abs=1e-6)
    assert probe(STATES) == pytest.approx(torch.sigmoid(x @ w + b).tolist(), abs=1e-7)


def test_the_optimum_is_that_of_scikit_learn() -> None:
    """A share y is y of a right and 1 - y of a wrong one; C = 1 / ridge."""
    linear = pytest.importorskip("sklearn.linear_model")
    x = standardised()
    model = linear.LogisticRegression(C=1 / RIDGE, tol=1e-10, max_iter=10_000)
    model.fit(np.r_[x, x], np.r_[np.ones(60), np.zeros(60)], sample_weight=np.r_[TARGETS, 1 - TARGETS])
    assert fit_probe(STATES, TARGETS, ridge=RIDGE)(STATES) == pytest.approx(model.predict_proba(x)[:, 1], abs=1e-4)


def test_more_features_than_questions() -> None:
    """Separable and underdetermined: the ridge keeps it finite, and it ranks its own questions right."""
    states, targets = RNG.normal(size=(10, 50)), np.array([0.0, 1.0] * 5)
    p = fit_probe(states, targets, ridge=0.1)(states)
    assert np.isfinite(p).all() and p[1::2].min() > p[::2].max()


def test_states_through_text() -> None:
    values = np.array([1.5, -0.25, 1e6], dtype=np.float32)
    assert decode_state(encode_state(values)).tolist() == [1.5, -0.25, 65504.0]
    with pytest.raises(ValueError, match="inf or nan"):
        encode_state(np.array([np.nan]))


def test_fit_needs_questions_and_states() -> None:
    with pytest.raises(ValueError, match="no answerable question with a hidden state in align-train"):
        fit([], 1.0)
    question = Question(key="q", image_key="i", text="what?", answers=("red",))
    evidence = Evidence(question, ResponseSet(key="q", image_key="i", texts=("red",), logprobs=(-1.0,), num_tokens=(1,)))
    with pytest.raises(ValueError, match="needs the ask 'state'"):
        fit([evidence], 1.0)
    known = Evidence(question, evidence.responses, Probed(key="q", image_key="i", state=encode_state(np.array([1.0]))))
    assert fit([known], 1.0)(known) > 0.99
