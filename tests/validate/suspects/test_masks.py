"""Masks that are placed or numbered otherwise are named."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.validate.suspects.masks import suspect_masks

CLASSES = ("background", "cat", "dog", "cow", "sheep")
Masks = NDArray[np.int64]


def masks(seed: int = 0, height: int = 24, width: int = 24) -> Masks:
    """Some boxes of classes on the background."""
    rng = np.random.default_rng(seed)
    found = np.zeros((5, height, width), np.int64)
    for mask in found:
        for label in rng.permutation([1, 2, 3, 4])[:3]:
            top, left = rng.integers(0, height - 9), rng.integers(0, width - 11)
            mask[top : top + 9, left : left + 11] = label
    return found


def spoiled(values: Masks) -> Masks:
    rng = np.random.default_rng(9)
    return np.where(rng.random(values.shape) < 0.03, rng.integers(0, 5, values.shape), values)


MISTAKES: dict[str, Callable[[Masks], Masks]] = {
    "masks mirrored left to right": lambda m: m[:, :, ::-1],
    "masks upside down": lambda m: m[:, ::-1],
    "masks turned by half a turn": lambda m: m[:, ::-1, ::-1],
    "x and y swapped": lambda m: m.transpose(0, 2, 1),
    "masks shifted by +2 cells in x": lambda m: np.roll(m, 2, axis=2),
    "masks shifted by -1 cells in y": lambda m: np.roll(m, -1, axis=1),
    "labels one too high": lambda m: m + 1,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name: str, seed: int) -> None:
    found = suspect_masks(masks(seed), spoiled(MISTAKES[name](masks(seed))), CLASSES)
    assert found.startswith(name)


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_other_answers_are_not_suspected(seed: int) -> None:
    assert suspect_masks(masks(seed), spoiled(masks(seed)), CLASSES) == ""
    assert suspect_masks(masks(seed), masks(seed + 20), CLASSES) == ""
    assert suspect_masks(masks(seed), masks(seed) * 0, CLASSES) == ""


def test_masks_of_other_sizes_are_left_alone() -> None:
    assert suspect_masks(masks(), masks(height=20), CLASSES) == ""
    assert suspect_masks(masks()[:0], masks()[:0], CLASSES) == ""
