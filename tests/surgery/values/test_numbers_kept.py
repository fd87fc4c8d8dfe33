import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery.values.numbers_kept import keeps_all

PLAIN = [
    ir.DataType.BOOL, ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32,
    ir.DataType.INT64, ir.DataType.UINT64, ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*encountered in cast")
@pytest.mark.parametrize("first", PLAIN)
@pytest.mark.parametrize("second", PLAIN)
def test_what_is_said_to_be_kept_is_kept(first: ir.DataType, second: ir.DataType) -> None:
    dtype = first.numpy()
    if dtype.kind == "b":
        values = np.array([False, True])
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.array([limits.min, limits.min + 1, 0, 1, limits.max - 1, limits.max], dtype)
    else:
        facts = np.finfo(dtype)
        tiny, more = facts.smallest_subnormal, 1 + facts.eps
        values = np.array([facts.min, -more, -tiny, 0, tiny, more, facts.max, np.inf], dtype)
    back = values.astype(second.numpy()).astype(dtype)
    if keeps_all(first, second):
        np.testing.assert_array_equal(back, values)
