"""Which dtypes hold every value of which other."""

import numpy as np
import onnx_ir as ir

FLOATS = {ir.DataType.FLOAT16: 11, ir.DataType.BFLOAT16: 8, ir.DataType.FLOAT: 24, ir.DataType.DOUBLE: 53}
"""Binary digits of the significand, the leading one included (IEEE 754; bfloat16: 8)."""
INTEGERS = frozenset(
    getattr(ir.DataType, f"{sign}INT{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)
)


def keeps_all(first: ir.DataType, second: ir.DataType) -> bool:
    """Whether every value of one dtype is a value of another, exactly."""
    if not (is_plain(first) and is_plain(second)):
        return False
    if first == second or first == ir.DataType.BOOL:
        return True
    if second == ir.DataType.BOOL:
        return False
    if first in INTEGERS and second in INTEGERS:
        mine, other = np.iinfo(first.numpy()), np.iinfo(second.numpy())
        return bool(other.min <= mine.min and mine.max <= other.max)
    if first in INTEGERS:
        # Any integer of so many bits is exact; the exponents of these floats reach far enough.
        return int(first.bitwidth) <= FLOATS[second] and second != ir.DataType.FLOAT16
    if second in INTEGERS:
        return False
    wider = FLOATS[first] <= FLOATS[second]
    return wider and (first, second) != (ir.DataType.BFLOAT16, ir.DataType.FLOAT16)


def is_plain(dtype: ir.DataType) -> bool:
    """Whether a dtype is a boolean, an integer of whole bytes, or an IEEE float or bfloat16."""
    return dtype in FLOATS or dtype in INTEGERS or dtype == ir.DataType.BOOL
