"""A detector without data is proven on pictures in which there is something to find."""

import importlib.util
from typing import Any

import numpy as np
import pytest

from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.drawn_inputs import drawn_feeds
from graphopt.recipes.models.fcos import fcos_recipe


def test_scenes_are_prepared_as_the_recipe_says() -> None:
    pytest.importorskip("cv2")
    recipe = fcos_recipe(height=96, width=160)
    feeds = drawn_feeds(recipe, 3)
    assert feeds is not None
    assert feeds.kind == "3 drawn scenes"
    arrays = [sample["input"] for sample in feeds.samples]
    assert [array.shape for array in arrays] == [(1, 3, 96, 160)] * 3
    assert all(recipe.inputs[0].mismatch(array) is None for array in arrays)
    # Of 640x480 and 427x640: borders of zeros left and right, of their own width.
    borders = [int((array[0] != 0).any(axis=(0, 1)).argmax()) for array in arrays[:2]]
    assert borders == [16, 48]
    assert not np.array_equal(arrays[0], arrays[2])


def test_they_are_the_same_each_time() -> None:
    pytest.importorskip("cv2")
    recipe = fcos_recipe(height=64, width=96)
    one, two = (drawn_feeds(recipe, 1) for _ in range(2))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.samples[0]["input"], two.samples[0]["input"])


@pytest.mark.parametrize("name", ["deepmar", "refinenet"])
def test_only_detectors_are_given_scenes(name: str) -> None:
    assert drawn_feeds(find_recipe(name), 2) is None


def test_without_opencv_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "cv2" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert drawn_feeds(fcos_recipe(height=64, width=96), 2) is None
