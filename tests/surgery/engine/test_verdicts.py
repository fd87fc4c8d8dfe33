"""From answers to a verdict."""

import numpy as np
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED, Tolerance
from graphopt.core.tensors import Array
from graphopt.surgery.engine.verdicts import constant_outputs, contradicted_shape, judge_answers
from graphopt.surgery.report import Status

EXACT = Tolerance(atol=0, rtol=0, why="equal")


def _f(*values: float) -> Array:
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("expected", "got", "status", "reason"),
    [
        (_f(1, 2), _f(1, 2), Status.PROVEN, ""),
        (_f(1, 2), _f(1, 3), Status.FAILED, "output y differs by up to 1"),
        (_f(1, np.nan, 3), _f(1, np.nan, 3), Status.PROVEN, "1 of 3 elements of y are NaN on both sides"),
        (_f(1, np.nan, 3), _f(1, np.nan, 4), Status.FAILED, "output y differs by up to 1"),
        (_f(1, 2, 3), _f(1, np.nan, 3), Status.FAILED, "not finite"),
        (_f(1, np.nan, 3), _f(1, 2, 3), Status.FAILED, "not finite"),
        (_f(np.nan, np.nan, 3), _f(np.nan, np.nan, 3), Status.UNPROVEN, "most of its elements are NaN"),
        (_f(np.inf, 1), _f(np.inf, 1), Status.PROVEN, ""),
        (_f(np.inf, 1), _f(-np.inf, 1), Status.FAILED, "not finite"),
        (_f(), _f(), Status.UNPROVEN, "it has no elements"),
        (_f(), _f(1), Status.FAILED, "shape differs"),
        (_f(1), np.array([1]), Status.FAILED, "dtype differs"),
    ],
)
def test_one_output(expected: Array, got: Array, status: Status, reason: str) -> None:
    before = expected.copy()
    verdict = judge_answers([{"y": expected}], [{"y": got}], FLOAT32_REORDERED)
    assert verdict.status is status
    assert reason in verdict.reason
    np.testing.assert_array_equal(expected, before)


def test_of_several_outputs_one_that_says_nothing_leaves_all_unproven() -> None:
    answers = [{"y": _f(1), "z": _f()}]
    verdict = judge_answers(answers, answers, EXACT)
    assert (verdict.status, [item.name for item in verdict.comparisons]) == (Status.UNPROVEN, ["y"])


def test_a_wrong_output_weighs_more_than_one_that_says_nothing() -> None:
    verdict = judge_answers([{"y": _f(1), "z": _f()}], [{"y": _f(2), "z": _f()}], EXACT)
    assert verdict.status is Status.FAILED


def test_outputs_that_stay_the_same_are_found_also_between_other_batches() -> None:
    rows = _f(1, 2, 3, 4).reshape(2, 2)
    samples = [{"same": rows, "other": rows}, {"same": rows[:1], "other": rows[1:]}]
    assert constant_outputs(samples) == ["same"]
    assert constant_outputs([{"y": _f(np.nan)}, {"y": _f(np.nan)}]) == ["y"]
    assert constant_outputs([{"y": _f(1)}, {"y": _f(1).reshape(1, 1)}]) == []


def test_a_declared_size_must_come() -> None:
    answers = [{"y": np.zeros((2, 5))}]
    assert contradicted_shape({"y": (2, None)}, answers) == ""
    assert contradicted_shape({"y": None}, answers) == ""
    assert "declared as [2, 4] and comes as [2, 5]" in contradicted_shape({"y": (2, 4)}, answers)
    assert "declared as [2]" in contradicted_shape({"y": (2,)}, answers)
