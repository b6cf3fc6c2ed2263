"""Intervals: clustered by image, paired, and over seeds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from inbol.evaluation import metrics as m
from inbol.evaluation.bootstrap import interval, mean_interval, over_seeds, resample, weight_blocks


def test_weights_draw_every_resample_in_full() -> None:
    weights = np.concatenate(list(weight_blocks(7, resamples=250, seed=1)))
    assert weights.shape == (250, 7)
    assert (weights.sum(axis=1) == 7).all()
    again = np.concatenate(list(weight_blocks(7, resamples=250, seed=1)))
    assert (weights == again).all()
    assert len({tuple(row) for row in weights}) > 200


def test_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    """1,000 images with one 0/1 item each, mean 1/2: standard error .5 / sqrt(1000) = .0158, half-width 1.96 x that = .031."""
    x = np.tile([0.0, 1.0], 500)
    low, high = mean_interval(x, np.arange(1000), num_images=1000) or (0, 0)
    assert low == pytest.approx(0.5 - 0.031, abs=0.003)
    assert high == pytest.approx(0.5 + 0.031, abs=0.003)


def test_items_of_an_image_stand_or_fall_together() -> None:
    """The same 1,000 items as 100 images of 10 equal ones: sqrt(10) times as wide."""
    x = np.repeat(np.tile([0.0, 1.0], 50), 10)
    low, high = mean_interval(x, np.repeat(np.arange(100), 10), num_images=100) or (0, 0)
    assert (high - low) / 2 == pytest.approx(0.098, abs=0.01)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    """b is a, with 10 of 200 wrong answers refused: the difference is never negative, whatever the spread of each."""
    rng = np.random.default_rng(0)
    a = rng.choice([1, -1], size=200).astype(np.int8)
    b = a.copy()
    b[np.flatnonzero(a == -1)[:10]] = 0
    image = np.arange(200)
    samples = resample([m.t0(a), m.t0(b)], image, num_images=200, resamples=500, seed=0)
    low, high = interval(samples[:, 1] - samples[:, 0]) or (0, 0)
    assert low > 0
    assert high < 0.1
    direct = resample([m.t0_gain(b, a)], image, num_images=200, resamples=500, seed=0)[:, 0]
    assert np.allclose(direct, samples[:, 1] - samples[:, 0])


def test_resampled_ratio_with_an_empty_denominator_is_nan_and_left_out() -> None:
    """One of two images holds the only refusal: a quarter of the resamples draw the other one twice."""
    v = np.array([0, 1], dtype=np.int8)
    due = np.array([True, False])
    samples = resample([m.refusal_precision(v, due)], np.array([0, 1]), num_images=2, resamples=400, seed=0)[:, 0]
    assert 0.15 < np.isnan(samples).mean() < 0.35
    assert interval(samples) == (1.0, 1.0)
    assert interval(np.array([np.nan])) is None


def test_constants_and_several_ratios_add_up() -> None:
    v, base = np.array([1, 0, 0, -1], dtype=np.int8), np.array([1, 1, -1, -1], dtype=np.int8)
    image = np.zeros(4, dtype=np.int64)  # one image: every resample is the sample
    measure = m.honesty(v, base)
    samples = resample([measure, m.t0(v)], image, num_images=1, resamples=10, seed=0)
    assert np.allclose(samples[:, 0], measure.value)
    assert np.allclose(samples[:, 1], 0.0)


def test_a_form_of_ratios_is_taken_in_every_resample() -> None:
    """Rely and THS, beside a sum: each resample is the measure of the items drawn, as often as they are drawn."""
    rng = np.random.default_rng(3)
    v, base = rng.integers(-1, 2, size=24).astype(np.int8), rng.integers(-1, 2, size=24).astype(np.int8)
    image = np.arange(24) // 3
    samples = resample([m.rely(v), m.acc(v), m.ths(v, base)], image, num_images=8, resamples=30, seed=5)
    for row, weights in zip(samples, next(weight_blocks(8, resamples=30, seed=5))):
        drawn = np.repeat(np.arange(24), weights[image].astype(int))
        expected = [m.rely(v[drawn]).value, m.acc(v[drawn]).value, m.ths(v[drawn], base[drawn]).value]
        assert row == pytest.approx([np.nan if x is None else x for x in expected], nan_ok=True)


def test_ths_of_the_base_has_no_interval() -> None:
    """0 to the last bit in every resample, so that no "±.000" is printed."""
    base = np.random.default_rng(4).integers(-1, 2, size=600).astype(np.int8)
    samples = resample([m.ths(base, base)], np.arange(600) // 3, num_images=200, resamples=200, seed=5)
    assert (samples == 0).all()


def test_seed_noise_enters_the_interval() -> None:
    """Three seeds at 0, 1 and 2 without item noise: variance of the mean of S seeds is s^2 / S = 1/3, as the stretched draws have."""
    samples = np.repeat(np.array([0.0, 1.0, 2.0])[:, None], 20_000, axis=1)
    drawn = over_seeds(samples, seed=0)
    assert drawn.shape == (20_000,)
    assert drawn.mean() == pytest.approx(1.0, abs=0.02)
    assert drawn.var() == pytest.approx(1 / 3, abs=0.01)


def test_one_seed_is_the_image_bootstrap_alone() -> None:
    samples = np.arange(6.0).reshape(1, 6)
    assert (over_seeds(samples, seed=0) == samples[0]).all()


def test_seeds_without_a_value_are_left_out_of_the_mean() -> None:
    samples = np.stack([np.full(50, np.nan), np.full(50, 2.0)])[:, :, None]
    drawn = over_seeds(samples, seed=0)
    assert drawn.shape == (50, 1)
    assert set(drawn[~np.isnan(drawn)].tolist()) == {2.0}


def test_two_thousand_resamples_of_a_thousand_images_take_under_a_second() -> None:
    rng = np.random.default_rng(0)
    v = rng.integers(-1, 2, size=15_000).astype(np.int8)
    image = rng.integers(1000, size=15_000)
    start = time.process_time()
    resample([m.t0(v), m.acc(v), m.selective_accuracy(v)], image, num_images=1000, resamples=2000, seed=0)
    assert time.process_time() - start < 1.0
