"""Stages of a pipeline on a detector: the same set in other rows is no difference, another set is."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from graphopt.core.comparison import Outcome
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.row_comparison import compare_predictions, stack_samples

OUTPUTS = (
    TensorSpec(name="dets", shape=(1, 7, 5), dtype="float32", role="dets"),
    TensorSpec(name="labels", shape=(1, 7), dtype="int64", role="labels"),
)


@pytest.fixture
def recipe(small: Any) -> Recipe:
    known: Recipe = small.RECIPE
    return dataclasses.replace(known, outputs=OUTPUTS)


def _outputs(rows: int) -> dict[str, Any]:
    """Three images; the two best scores are a millionth apart."""
    boxes = np.array([[9 * i, 2, 9 * i + 7, 30 + i, 0.9 - i / 50] for i in range(rows)], np.float32)
    boxes[1, 4] = boxes[0, 4] - 1e-6
    return {
        "dets": np.stack([boxes + 10 * i * np.array([1, 1, 1, 1, 0], np.float32) for i in range(3)]),
        "labels": np.tile(np.arange(rows), (3, 1)),
    }


def _padded(outputs: dict[str, Any], rows: int) -> dict[str, Any]:
    return {
        name: np.pad(array, [(0, 0), (0, rows - array.shape[1]), *[(0, 0)] * (array.ndim - 2)])
        for name, array in outputs.items()
    }


def test_rows_in_another_order_and_number_are_equal(recipe: Recipe) -> None:
    other = {name: array[:, [1, 0, *range(2, 6)]] for name, array in _outputs(6).items()}
    (found,) = compare_predictions(_outputs(6), _padded(other, 9), recipe)
    assert found.outcome is Outcome.MATCH
    assert found.name == "dets, labels"


def test_one_other_label_is_a_difference(recipe: Recipe) -> None:
    other = _outputs(6)
    other["labels"][2, 3] += 1
    (found,) = compare_predictions(_outputs(6), other, recipe)
    assert not found.passed
    assert "in image 2" in found.detail


def test_the_numbers_that_an_exporter_gives_to_outputs_do_not_matter(recipe: Recipe) -> None:
    raw = {"1368": _outputs(6)["labels"], "1361": _outputs(6)["dets"]}
    (found,) = compare_predictions(raw, _padded(_outputs(6), 9), recipe)
    assert found.outcome is Outcome.MATCH
    raw["1361"] = raw["1361"] + np.float32(1)
    (found,) = compare_predictions(raw, _padded(_outputs(6), 9), recipe)
    assert not found.passed


def test_outputs_that_could_be_either_are_missing(recipe: Recipe) -> None:
    raw = {"1": _outputs(6)["labels"], "2": _outputs(6)["dets"], "3": _outputs(6)["dets"]}
    found = compare_predictions(raw, _outputs(6), recipe)
    assert Outcome.MISSING in [item.outcome for item in found]


def test_a_missing_output_is_missing(recipe: Recipe) -> None:
    outcomes = [
        item.outcome for item in compare_predictions(_outputs(6), {"dets": _outputs(6)["dets"]}, recipe)
    ]
    assert Outcome.MISSING in outcomes


def test_other_outputs_are_compared_number_by_number(recipe: Recipe) -> None:
    mine, its = ({**_outputs(6), "heat": np.full((3, 2), value, np.float32)} for value in (1, 2))
    found = compare_predictions(mine, its, recipe)
    assert [item.passed for item in found] == [True, False]


def test_outputs_without_roles_are_compared_number_by_number(small: Any) -> None:
    other = {name: array[:, ::-1] for name, array in _outputs(6).items()}
    assert not any(item.passed for item in compare_predictions(_outputs(6), other, small.RECIPE))


def test_samples_with_fewer_rows_are_filled_up() -> None:
    arrays = [np.ones((1, count, 5), np.float32) for count in (2, 4, 0)]
    stacked = stack_samples(arrays)
    assert stacked.shape == (3, 4, 5)
    assert stacked[:, :, 0].sum(axis=1).tolist() == [2, 4, 0]
    assert stack_samples([np.ones((1,), np.int64), np.ones((2,), np.int64)]).shape == (3,)
