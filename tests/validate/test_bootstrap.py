"""Intervals of differences: they hold the truth about as often as they say."""

import numpy as np
import pytest

from graphopt.validate.bootstrap import Interval, difference_interval, draw_images


def test_each_draw_has_as_many_images_and_draws_repeat() -> None:
    weights = draw_images(7, draws=50)
    assert weights.shape == (50, 7)
    assert set(weights.sum(axis=1)) == {7}
    assert (weights == draw_images(7, draws=50)).all()
    assert (weights != draw_images(7, draws=50, seed=1)).any()


@pytest.mark.parametrize("shift", [0.0, -0.02, 0.05])
def test_the_interval_covers_the_truth_in_19_of_20_samples(shift: float) -> None:
    rng = np.random.default_rng(8)
    images, trials, held = 60, 300, 0
    weights = draw_images(images, draws=400)
    for _ in range(trials):
        first = rng.uniform(0.2, 0.9, images)
        second = first + shift + rng.normal(0, 0.08, images)  # paired: they differ much less than they vary
        drawn = [weights @ values / images for values in (first, second)]
        found = difference_interval(float(second.mean() - first.mean()), *drawn)
        held += found.low <= shift <= found.high
    assert 0.91 <= held / trials <= 0.985


def test_pairing_is_what_makes_it_narrow() -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, 40)
    weights = draw_images(40)
    same = difference_interval(-0.01, weights @ values / 40, weights @ (values - 0.01) / 40)
    np.testing.assert_allclose((same.low, same.high), -0.01)
    assert not same.has_zero


def test_draws_without_a_figure_are_left_out() -> None:
    found = difference_interval(0.1, np.array([0.0, np.nan, 0.2]), np.array([0.1, 0.3, np.nan]))
    np.testing.assert_allclose((found.low, found.high), 0.1)
    assert difference_interval(0.1, np.array([np.nan]), np.array([0.1])) == Interval(low=-np.inf, high=np.inf)


def test_what_one_image_loses_is_never_sure() -> None:
    first = np.full(24, 0.8)
    second = first - np.eye(24)[5] * 0.5
    weights = draw_images(24)
    found = difference_interval(
        float(second.mean() - first.mean()), weights @ first / 24, weights @ second / 24
    )
    assert found.has_zero
    assert found.low < second.mean() - first.mean() <= found.high == 0
