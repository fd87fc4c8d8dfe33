import numpy as np
import pytest

from graphopt.core.errors import DatasetError
from graphopt.runtime.decode.attributes import attribute_probabilities, attributes_from_logits


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_logit_of_zero_or_more_is_present(dtype: type) -> None:
    logits: np.ndarray = np.array([[-3.0, -1e-3, 0.0, 1e-3, 4.0]], dtype)
    assert attributes_from_logits(logits).tolist() == [[False, False, True, True, True]]


def test_decisions_are_those_of_probability_one_half() -> None:
    logits = np.random.default_rng(1).standard_normal((50, 35)).astype(np.float32)
    assert np.array_equal(attributes_from_logits(logits), attribute_probabilities(logits) >= 0.5)


def test_probabilities_do_not_overflow() -> None:
    logits = np.array([[-1e30, -800.0, 0.0, 800.0, 1e30]], np.float32)
    got = attribute_probabilities(logits)
    assert got.dtype == np.float32
    assert got.tolist() == [[0.0, 0.0, 0.5, 1.0, 1.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_its_rows(value: float) -> None:
    logits = np.zeros((9, 3), np.float32)
    logits[[2, 5], 1] = value
    for function in (attributes_from_logits, attribute_probabilities):
        with pytest.raises(DatasetError, match=r"2 of 9 samples .*rows 2, 5"):
            function(logits)


@pytest.mark.parametrize("logits", [np.zeros(35, np.float32), np.zeros((2, 35), np.int64)])
def test_other_shapes_and_dtypes_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(DatasetError, match=r"expected float \[N, K\]"):
        attributes_from_logits(logits)
