"""A comparison that cannot fail is worthless: each sabotage must be seen, and named."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from graphopt.core.comparison import (
    FLOAT32_REORDERED,
    Outcome,
    TensorComparison,
    Tolerance,
    compare_outputs,
    compare_rows,
    compare_tensor,
    merge_samples,
)
from graphopt.core.tensors import Array

EQUAL = Tolerance(atol=0, rtol=0, why="must be equal")


def _picture() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(7).standard_normal((1, 3, 5, 7)).astype(np.float32)


def _compare(
    reference: Array, candidate: Array, tolerance: Tolerance = FLOAT32_REORDERED
) -> TensorComparison:
    before = reference.copy(), candidate.copy()
    result = compare_tensor("x", reference, candidate, tolerance)
    for array, copy in zip((reference, candidate), before, strict=True):
        assert array.tobytes() == copy.tobytes()
    json.dumps(result.to_json(), allow_nan=False)
    assert result.passed == (result.detail == "")
    return result


def test_equal_tensors_match() -> None:
    result = _compare(_picture(), _picture())
    assert result.outcome is Outcome.MATCH
    assert (result.max_abs, result.max_rel, result.margin) == (0, 0, 0)
    assert result.cosine == pytest.approx(1)


def test_sums_in_another_order_match() -> None:
    values = np.random.default_rng(1).standard_normal((50, 1000)).astype(np.float32)
    result = _compare(values.sum(axis=1), values[:, ::-1].copy().sum(axis=1))
    assert result.passed


def test_one_percent_of_scale_is_seen() -> None:
    result = _compare(_picture(), _picture() * np.float32(1.01))
    assert result.outcome is Outcome.VALUES
    assert result.max_rel == pytest.approx(0.01, rel=1e-3)
    assert result.margin is not None
    assert result.margin > 50
    assert result.cosine == pytest.approx(1)


def test_swapped_channels_are_seen() -> None:
    result = _compare(_picture(), _picture()[:, [1, 0, 2]])
    assert result.outcome is Outcome.VALUES
    assert result.cosine is not None
    assert result.cosine < 0.9


def test_one_wrong_element_is_found() -> None:
    candidate = _picture()
    candidate[0, 2, 3, 4] += 0.5
    result = _compare(_picture(), candidate)
    assert result.outcome is Outcome.VALUES
    assert result.worst == (0, 2, 3, 4)
    assert "at [0, 2, 3, 4]: candidate " in result.detail


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_seen(value: float) -> None:
    candidate = _picture()
    candidate[0, 1, 2, 3] = value
    for pair in ((_picture(), candidate), (candidate, _picture())):
        result = _compare(*pair)
        assert result.outcome is Outcome.NOT_FINITE
        assert result.worst == (0, 1, 2, 3)
        assert "1 of 105 elements are not finite, first at [0, 1, 2, 3]" in result.detail


def test_nan_on_both_sides_fails() -> None:
    values = _picture()
    values[0, 0, 0, 0] = np.nan
    assert _compare(values, values.copy()).outcome is Outcome.NOT_FINITE


def test_the_same_infinity_on_both_sides_matches_and_the_rest_is_compared() -> None:
    values = _picture()
    values[0, 0, 0, 0], values[0, 0, 0, 1] = np.inf, -np.inf
    assert _compare(values, values.copy()).passed
    other = values.copy()
    other[0, 0, 0, 2] += 1
    assert _compare(values, other).outcome is Outcome.VALUES
    assert _compare(values, -values).outcome is Outcome.NOT_FINITE


def test_other_dtypes_and_shapes_are_no_match() -> None:
    assert _compare(_picture(), _picture().astype(np.float64)).outcome is Outcome.DTYPE
    assert "dtype is float64, reference float32" in _compare(_picture(), _picture().astype(np.float64)).detail
    assert _compare(_picture(), _picture()[0]).outcome is Outcome.SHAPE
    assert _compare(_picture(), _picture().transpose(0, 1, 3, 2)).outcome is Outcome.SHAPE


def test_nothing_compared_is_no_match() -> None:
    empty = np.zeros((0, 5), np.float32)
    assert _compare(empty, empty).outcome is Outcome.EMPTY


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint64", "bool"])
def test_integers_must_be_equal(dtype: str) -> None:
    reference = np.array([0, 1, 1, 0], dtype)
    loose = Tolerance(atol=100, rtol=0.1, why="integers must ignore it")
    assert _compare(reference, reference.copy(), loose).passed
    candidate = np.array([0, 1, 0, 0], dtype)
    result = _compare(reference, candidate, loose)
    assert (result.outcome, result.worst) == (Outcome.VALUES, (2,))
    assert result.max_abs == 1


def test_integers_beyond_the_precision_of_floats_are_told_apart() -> None:
    reference = np.array([2**53, 5], np.int64)
    result = _compare(reference, reference + np.array([1, 0]))
    assert (result.outcome, result.worst, result.max_abs) == (Outcome.VALUES, (0,), 1)


def test_strings_must_be_equal() -> None:
    reference = np.array(["cat", "dog"], dtype=object)
    assert _compare(reference, reference.copy()).passed
    result = _compare(reference, np.array(["cat", "cow"], dtype=object))
    assert (result.outcome, result.worst) == (Outcome.VALUES, (1,))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.complex64])
def test_every_kind_of_float_is_compared_by_tolerance(dtype: Any) -> None:
    reference = np.array([1, 2, 3], dtype)
    tolerance = Tolerance(atol=0, rtol=0.02, why="test")
    assert _compare(reference, (reference * dtype(1.01)).astype(dtype), tolerance).passed
    assert _compare(reference, (reference * dtype(1.1)).astype(dtype), tolerance).outcome is Outcome.VALUES


def test_small_integers_of_ml_dtypes_are_integers() -> None:
    reference = np.array([1, 2, 3], ml_dtypes.int4)
    loose = Tolerance(atol=100, rtol=0.1, why="integers must ignore it")
    assert _compare(reference, reference.copy(), loose).passed
    assert not _compare(reference, np.array([1, 2, 4], ml_dtypes.int4), loose).passed


def test_scalars_have_an_index_too() -> None:
    result = _compare(np.array(1.0, np.float32), np.array(2.0, np.float32))
    assert (result.outcome, result.worst) == (Outcome.VALUES, ())


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e308])
def test_extreme_magnitudes_overflow_nothing(scale: float) -> None:
    reference = np.array([1.0, -1.0]) * scale
    assert _compare(reference, reference.copy(), EQUAL).cosine == pytest.approx(1)
    result = _compare(reference, -reference, FLOAT32_REORDERED if scale > 1 else EQUAL)
    assert result.outcome is Outcome.VALUES
    assert result.cosine == pytest.approx(-1)


def test_zeros_have_a_direction_only_when_both_are_zero() -> None:
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert _compare(zeros, zeros.copy()).cosine == 1
    assert _compare(zeros, ones).cosine == 0
    assert _compare(zeros, ones).max_rel == 0


def test_tolerances_use_all_three_parts() -> None:
    reference = np.array([0.0, 1.0, 100.0])
    allowance = {"atol": 0.5, "rtol": 0.1, "peak": 0.01}
    for name, value in allowance.items():
        given = {"atol": 0.0, "rtol": 0.0, name: value}
        tolerance = Tolerance(**given, why="one part")
        allowed = value * {"atol": 1, "rtol": 1, "peak": 100}[name]
        inside, outside = reference.copy(), reference.copy()
        inside[1] += allowed * 0.99
        outside[1] += allowed * 1.01
        assert _compare(reference, inside, tolerance).passed
        assert _compare(reference, outside, tolerance).margin == pytest.approx(1.01)


@pytest.mark.parametrize(
    "values",
    [
        {"atol": -1.0, "rtol": 0.0},
        {"atol": 0.0, "rtol": 0.2},
        {"atol": 0.0, "rtol": 0.0, "peak": 0.1},
        {"atol": float("nan"), "rtol": 0.0},
        {"atol": float("inf"), "rtol": 0.0},
    ],
)
def test_tolerances_that_say_nothing_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="tolerance out of range"):
        Tolerance(**values, why="test")


class TestOutputs:
    def test_a_dropped_and_an_extra_output_are_missing(self) -> None:
        one, two = {"a": _picture(), "b": _picture()}, {"b": _picture(), "c": _picture()}
        results = {r.name: r for r in compare_outputs(one, two, FLOAT32_REORDERED)}
        assert list(results) == ["a", "b", "c"]
        assert results["a"].detail == "the candidate lacks this output"
        assert results["b"].passed
        assert results["c"].detail == "the reference lacks this output"
        assert results["a"].outcome is results["c"].outcome is Outcome.MISSING

    def test_the_order_of_outputs_does_not_matter(self) -> None:
        one = {"a": _picture(), "b": _picture() * 2}
        results = compare_outputs(one, dict(reversed(one.items())), EQUAL)
        assert [r.name for r in results if r.passed] == ["a", "b"]

    def test_one_bad_sample_makes_a_bad_tensor(self) -> None:
        good, bad = _picture(), _picture()
        bad[0, 0, 0, 0] = np.nan
        samples = [
            compare_outputs({"a": good}, {"a": x}, FLOAT32_REORDERED) for x in (good, bad, good * 1.01)
        ]
        for order in (samples, samples[::-1]):
            (merged,) = merge_samples(order)
            assert not merged.passed
            assert merged.outcome is Outcome.NOT_FINITE
            assert merged.max_abs is not None
            assert merged.max_abs > 0

    def test_the_worst_match_is_kept(self) -> None:
        good = _picture()
        samples = [compare_outputs({"a": good}, {"a": good + d}, FLOAT32_REORDERED) for d in (0, 1e-6, 0)]
        (merged,) = merge_samples([tuple(s) for s in samples])
        assert merged.passed
        assert merged.margin == samples[1][0].margin
        assert merged.margin is not None
        assert merged.margin > 0

    def test_an_output_that_one_sample_lacks_is_missing(self) -> None:
        full = compare_outputs({"a": _picture()}, {"a": _picture()}, EQUAL)
        lacking = compare_outputs({"a": _picture()}, {}, EQUAL)
        (merged,) = merge_samples([full, lacking, full])
        assert merged.outcome is Outcome.MISSING

    def test_no_sample_gives_no_result(self) -> None:
        assert merge_samples([]) == ()


def _rows(seed: int = 7) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((6, 3, 5)).astype(np.float32)}


@pytest.mark.parametrize("block_bytes", [1, 150, 10**6])
def test_rows_compared_in_blocks_find_the_same_element(block_bytes: int) -> None:
    changed = {"x": _rows()["x"].copy()}
    changed["x"][4, 1, 2] += 0.5
    tolerance = Tolerance(atol=1e-3, rtol=0, why="test")
    (found,) = compare_rows(_rows(), changed, tolerance, block_bytes=block_bytes)
    (whole,) = compare_outputs(_rows(), changed, tolerance)
    assert (found.outcome, found.worst) == (Outcome.VALUES, (4, 1, 2)) == (whole.outcome, whole.worst)
    assert found.max_abs == whole.max_abs
    assert ("in rows 4 to 4" in found.detail) == (block_bytes == 1)
    (same,) = compare_rows(_rows(), _rows(), tolerance, block_bytes=block_bytes)
    assert same.passed


def test_rows_that_are_missing_of_another_shape_or_none_fail() -> None:
    tolerance = Tolerance(atol=1, rtol=0, why="test")
    rows = _rows()
    outcomes = {
        item.name: item.outcome
        for item in compare_rows(
            {"gone": rows["x"], "short": rows["x"], "none": rows["x"][:0]},
            {"new": rows["x"], "short": rows["x"][:2], "none": rows["x"][:0]},
            tolerance,
        )
    }
    assert outcomes == {
        "gone": Outcome.MISSING,
        "short": Outcome.SHAPE,
        "none": Outcome.EMPTY,
        "new": Outcome.MISSING,
    }
    broken = {"x": rows["x"].copy()}
    broken["x"][5, 0, 0] = np.nan
    assert compare_rows(rows, broken, tolerance, block_bytes=1)[0].outcome is Outcome.NOT_FINITE
