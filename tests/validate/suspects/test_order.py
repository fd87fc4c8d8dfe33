"""Answers of other images are found, whatever the answers are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.validate.suspects.order import suspect_order

NAMES = tuple(f"{i:02d}.jpg" for i in range(9))


def answers(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 1, (len(NAMES), 13))


def noise() -> NDArray[np.float64]:
    return np.random.default_rng(5).normal(0, 0.05, (len(NAMES), 13))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((np.arange(9) + 1) % 9, "+1 places on: 00.jpg has those of 01.jpg"),
        ((np.arange(9) - 2) % 9, "-2 places on: 00.jpg has those of 07.jpg"),
        (np.arange(9)[::-1], "in reversed order"),
        (np.array([3, 7, 1, 0, 8, 2, 4, 5, 6]), "in another order: 00.jpg has those of 03.jpg"),
    ],
)
def test_another_order_is_named(order: NDArray[np.int64], words: str) -> None:
    assert words in suspect_order(answers(), answers()[order] + noise(), NAMES)


def test_own_answers_and_other_models_are_not_suspected() -> None:
    assert suspect_order(answers(), answers() + noise(), NAMES) == ""
    assert suspect_order(answers(), answers(1), NAMES) == ""
    assert suspect_order(answers(), answers() * 0, NAMES) == ""


def test_images_that_are_alike_cannot_be_told_apart() -> None:
    same = np.tile(answers()[:1], (len(NAMES), 1))
    assert suspect_order(same, same, NAMES) == ""
    assert suspect_order(answers()[:3], answers()[:3][::-1], NAMES[:3]) == ""
