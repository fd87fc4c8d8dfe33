"""Wrong class maps are named, and ordinary mistakes of a model are not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.validate.suspects.labels import suspect_labels

Labels = NDArray[np.int64]


def labels(seed: int = 0, count: int = 60) -> Labels:
    share = 1 / np.arange(1, 61)
    return np.random.default_rng(seed).choice(60, count, p=share / share.sum())


def spoiled(values: Labels, share: float = 0.08, seed: int = 4) -> Labels:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(values)) < share, rng.integers(0, 80, len(values)), values)


def suspect(reference: Labels, candidate: Labels) -> str:
    return suspect_labels(reference, candidate, COCO_CLASSES, category_ids=COCO_CATEGORY_IDS)


ALPHABETICAL = np.argsort(np.argsort(np.array(COCO_CLASSES)))
MISTAKES = {
    "labels one too high": np.arange(80) + 1,
    "labels one too low": np.arange(80) - 1,
    "category ids of the data set, less one": np.array(COCO_CATEGORY_IDS) - 1,
    "classes in alphabetical order": ALPHABETICAL,
    "classes in reversed order": np.arange(80)[::-1],
    "labels shifted by +7": np.arange(80) + 7,
    "another class map: person -> traffic light": np.random.default_rng(1).permutation(80),
    "labels that are all person": np.zeros(80, np.int64),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in MISTAKES if "another" not in name])
def test_a_map_is_named(name: str, seed: int) -> None:
    right = labels(seed, 90)
    assert suspect(right, spoiled(MISTAKES[name][right])).startswith(name)


def test_category_ids_are_told_from_labels_one_too_high() -> None:
    right = np.repeat(np.arange(20, 50), 3)  # below label 12 both are the same
    found = suspect(right, np.array(COCO_CATEGORY_IDS)[right])
    assert found.startswith("category ids of the data set in place of labels (100% of 90 objects)")


def test_a_map_that_nobody_knows_is_learned() -> None:
    right = labels(3, 90)
    shuffled = np.random.default_rng(1).permutation(80)
    found = suspect(right, spoiled(shuffled[right], 0.03))
    assert found.startswith(f"another class map: person -> {COCO_CLASSES[shuffled[0]]}, ")


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_errs_is_not_suspected(seed: int) -> None:
    right = labels(seed, 90)
    assert suspect(right, right) == ""
    assert suspect(right, spoiled(right, 0.4)) == ""
    assert suspect(right, spoiled(right, 1.0)) == ""


def test_a_few_objects_say_nothing() -> None:
    assert suspect(labels(0, 5), labels(0, 5) + 1) == ""
    assert suspect(labels(0, 0), labels(0, 0)) == ""


def test_pixels_count_as_many_as_they_are() -> None:
    names = ("background", "cat", "dog", "cow")
    one, two = np.array([0, 1, 2, 3, 0]), np.array([1, 2, 3, 0, 0])
    found = suspect_labels(one, two, names, weights=np.array([900, 50, 40, 30, 20]))
    assert found.startswith("labels one too high")
    assert "1040 pixels" in found
    assert suspect_labels(one, two, names, weights=np.array([9, 50, 40, 30, 2000])) == ""
