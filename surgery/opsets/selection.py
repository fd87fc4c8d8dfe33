"""Comparing and picking: Clip, Max, Min, GreaterOrEqual, LessOrEqual of types that older versions lack."""

from functools import reduce as fold

import numpy as np
import onnx_ir as ir

from graphopt.surgery.opsets.general_rules import is_taken
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite, replacing
from graphopt.surgery.versioned_builder import VersionedBuilder

_BETTER = {"Max": "Greater", "Min": "Less"}
_ORDERED = frozenset(ir.DataType[f"{kind}{bits}"] for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)) | {
    ir.DataType.FLOAT16,
    ir.DataType.FLOAT,
    ir.DataType.DOUBLE,
}


def _comparable(place: Place) -> None:
    dtype = place.dtype()
    if dtype not in _ORDERED:
        raise Blocked(f"it takes no {dtype} in opset {place.to}")


def _clip(place: Place) -> Rewrite | None:
    """Integers are clipped by comparing, which is exact."""
    node = place.node
    if not place.crosses(12) or is_taken(place):
        return None
    _comparable(place)

    def write(new: VersionedBuilder) -> ir.Value:
        value = node.inputs[0]
        for index, worse in ((1, "Less"), (2, "Greater")):
            limit = place.input(index)
            if limit is not None:
                value = new.op("Where", new.op(worse, value, limit), limit, value, like=node.outputs[0])
        assert value is not None
        return value

    return replacing(node, write)


def _relu(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(14) or is_taken(place):
        return None
    _comparable(place)
    dtype = place.dtype()

    def write(new: VersionedBuilder) -> ir.Value:
        nothing = new.constant(np.zeros((), dtype=dtype.numpy()), "zero")
        return new.op("Where", new.op("Greater", node.inputs[0], nothing), node.inputs[0], nothing)

    return replacing(node, write)


def _extreme(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(12) or is_taken(place):
        return None
    _comparable(place)

    def write(new: VersionedBuilder) -> ir.Value:
        def better(one: ir.Value, two: ir.Value) -> ir.Value:
            first = new.op(_BETTER[node.op_type], one, two)
            return new.op("Where", first, one, two)

        return fold(better, [value for value in node.inputs if value is not None])

    return replacing(node, write)


def _or_equal(place: Place) -> Rewrite | None:
    """``a >= b`` is ``a > b or a == b``: not ``not a < b``, which is true for NaN."""
    node = place.node
    if not place.crosses(12):
        return None
    _comparable(place)

    def write(new: VersionedBuilder) -> ir.Value:
        strict = new.op(node.op_type.removesuffix("OrEqual"), *node.inputs, like=node.outputs[0])
        equal = new.op("Equal", *node.inputs, like=node.outputs[0])
        return new.op("Or", strict, equal, like=node.outputs[0])

    return replacing(node, write)


def _pow(place: Place) -> Rewrite | None:
    """Base and exponent had one dtype, a float, before opset 12."""
    node = place.node
    if not place.crosses(12):
        return None
    base, exponent = place.dtype(0), place.dtype(1)
    floats = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
    wide = base if base in floats else ir.DataType.DOUBLE

    def write(new: VersionedBuilder) -> ir.Value:
        def cast(value: ir.Value | None, dtype: ir.DataType, to: ir.DataType) -> ir.Value | None:
            return value if dtype == to else new.op("Cast", value, attributes={"to": to.value})

        power = new.op("Pow", cast(node.inputs[0], base, wide), cast(node.inputs[1], exponent, wide))
        back = cast(power, wide, base)
        assert back is not None
        return back

    return None if base == exponent and base in floats else replacing(node, write)


ADAPTERS = {
    "Clip": _clip,
    "GreaterOrEqual": _or_equal,
    "LessOrEqual": _or_equal,
    "Max": _extreme,
    "Min": _extreme,
    "Pow": _pow,
    "Relu": _relu,
}
