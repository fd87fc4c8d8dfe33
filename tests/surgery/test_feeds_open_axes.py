import numpy as np
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.tensors import Dim, TensorSpec
from graphopt.surgery.engine.feeds import shared_inputs


def spec(*shape: Dim) -> tuple[TensorSpec, ...]:
    return (TensorSpec(name="ids", shape=shape, dtype="int64"),)


def feed(*shape: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return {"ids": np.zeros(shape, np.int64)}


def test_samples_choose_the_sizes_that_both_models_leave_open() -> None:
    shared = shared_inputs(spec("batch", "length"), spec("batch", "length"))
    (joined,) = shared.regroup([feed(1, 7), feed(1, 7)])
    assert joined["ids"].shape[1] == 7
    with pytest.raises(UsageError, match="differ in more than the batch"):
        shared.regroup([feed(1, 7), feed(1, 9)])


def test_a_size_that_one_model_fixes_must_be_given() -> None:
    shared = shared_inputs(spec("batch", "length"), spec("batch", 5))
    with pytest.raises(UsageError, match=r"\[1, 7\]"):
        shared.regroup([feed(1, 7)])
