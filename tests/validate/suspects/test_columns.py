"""What was done to the numbers of attributes is named."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.validate.suspects.columns import suspect_columns

NAMES = ("hat", "bag", "coat", "skirt", "shoes", "glasses")


def logits(seed: int = 0, images: int = 30) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0.5, 2, (images, len(NAMES)))


def noise() -> NDArray[np.float64]:
    return np.random.default_rng(8).normal(0, 0.01, (30, len(NAMES)))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ([5, 0, 1, 2, 3, 4], "attributes shifted by +1 ("),
        ([3, 0, 4, 5, 1, 2], "attributes in another order: hat holds skirt"),
    ],
)
def test_another_order_is_named(order: list[int], words: str) -> None:
    found = suspect_columns(logits(), logits()[:, order] + noise(), NAMES)
    if "shifted" in words:
        assert "of 6 attributes)" in found
    assert words in found


def test_probabilities_and_turned_signs_are_named() -> None:
    assert suspect_columns(logits(), 1 / (1 + np.exp(-logits())), NAMES).startswith("probabilities where")
    assert suspect_columns(logits(), -logits() + noise(), NAMES) == "logits of the opposite sign"


def test_noise_other_models_and_constants_are_not_suspected() -> None:
    assert suspect_columns(logits(), logits() + noise(), NAMES) == ""
    assert suspect_columns(logits(), logits(1), NAMES) == ""
    assert suspect_columns(logits(), logits() * 0, NAMES) == ""
    assert suspect_columns(logits()[:3], logits()[:3, [1, 0, 3, 2, 5, 4]], NAMES) == ""
