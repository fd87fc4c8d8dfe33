"""Bounds of integer tensors, from constants, sizes and the operators that make them."""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import (
    constant_tensor,
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
)
from graphopt.surgery.shapes.broadcasting import shape_in
from graphopt.surgery.shapes.shape_inference import Inferred

Interval = tuple[int, int]
"""Smallest and largest possible element, both included."""

_OF_DTYPE: dict[ir.DataType | None, Interval] = {
    ir.DataType.BOOL: (0, 1),
    **{
        getattr(ir.DataType, f"{sign}INT{bits}"): (int(limits.min), int(limits.max))
        for sign, bits in (("", 8), ("U", 8), ("", 16), ("U", 16), ("", 32), ("U", 32))
        for limits in (np.iinfo(f"{sign.lower()}int{bits}"),)
    },
}
_INT64 = (-(2**63), 2**63 - 1)
_MOVING = (
    "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "ReduceMax", "ReduceMin",
    "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Their outputs hold elements of their first input."""


class IntegerRanges:
    """What is known of the elements of integer tensors in main graph and subgraphs.

    Args:
        model: is not changed.
        types: inferred; sizes bound indices.
    """

    def __init__(self, model: ir.Model, types: Mapping[ir.Value, Inferred]) -> None:
        self._model = model
        self._types = types
        self._found: dict[ir.Value, Interval] = {}
        for node in model.graph.all_nodes():
            if node.domain != "" or has_attribute_references(node):
                continue
            interval = self._made_by(node)
            for value in self._outputs(node):
                if interval is not None and self._fits(value, interval):
                    self._found[value] = interval

    def of(self, value: ir.Value | None) -> Interval | None:
        """Return the bounds of a value; None when they are unknown."""
        if value is None:
            return None
        if value in self._found:
            return self._found[value]
        tensor = constant_tensor(value)
        if tensor is not None and tensor.dtype.is_integer() and tensor.size:
            array = tensor.numpy()
            return int(array.min()), int(array.max())
        found = self._types.get(value)
        return None if found is None else _OF_DTYPE.get(found.dtype)

    def _fits(self, value: ir.Value, interval: Interval) -> bool:
        """Whether the numbers stay as they are in the dtype of a value, which wraps beyond its limits."""
        found = self._types.get(value)
        dtype = None if found is None else found.dtype
        low, high = _OF_DTYPE.get(dtype, _INT64 if dtype == ir.DataType.INT64 else (0, -1))
        return low <= interval[0] <= interval[1] <= high

    def _static(self, value: ir.Value | None) -> tuple[int, ...] | None:
        found = self._types.get(value) if value is not None else None
        return None if found is None else found.static

    def _outputs(self, node: ir.Node) -> list[ir.Value]:
        if is_op(node, "TopK"):
            return list(node.outputs[1:2])
        return list(node.outputs) if is_op(node, "Split") else list(node.outputs[:1])

    def _made_by(self, node: ir.Node) -> Interval | None:
        if node.op_type in _MOVING:
            return self.of(input_of(node, 0))
        rule = self._RULES.get(node.op_type)
        return None if rule is None else rule(self, node)

    def _cast(self, node: ir.Node) -> Interval | None:
        return self.of(input_of(node, 0))  # where it does not fit into the new dtype, it is forgotten

    def _index(self, node: ir.Node) -> Interval | None:
        """TopK, ArgMax, ArgMin: positions along one axis."""
        shape = shape_in(self._types, input_of(node, 0))
        axis = node.attributes.get_int("axis", -1 if is_op(node, "TopK") else 0)
        size = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
        return (0, size - 1) if isinstance(size, int) else None

    def _coordinates(self, node: ir.Node) -> Interval | None:
        """NonZero: positions along any axis."""
        sizes = self._static(input_of(node, 0))
        return (0, max(sizes) - 1) if sizes else None

    def _sizes(self, node: ir.Node) -> Interval | None:
        sizes = self._static(input_of(node, 0))
        if sizes is None:
            return None
        if is_op(node, "Size"):
            return (math.prod(sizes), math.prod(sizes))
        return (min(sizes), max(sizes)) if sizes else None

    def _combined(self, node: ir.Node, *indices: int) -> Interval | None:
        """The elements of all inputs, or of those at ``indices``."""
        values = [input_of(node, index) for index in indices] if indices else list(node.inputs)
        intervals = [self.of(value) for value in values if value is not None]
        known = [interval for interval in intervals if interval is not None]
        if not known or len(known) != len(intervals):
            return None
        return min(low for low, _ in known), max(high for _, high in known)

    def _scattered(self, node: ir.Node) -> Interval | None:
        return self._combined(node, 0, 2) if "reduction" not in node.attributes else None

    def _padded(self, node: ir.Node) -> Interval | None:
        inner = self._combined(node, 0, 2)
        return None if inner is None else (min(inner[0], 0), max(inner[1], 0))

    def _two(self, node: ir.Node) -> tuple[Interval, Interval] | None:
        left, right = self.of(input_of(node, 0)), self.of(input_of(node, 1))
        return None if left is None or right is None else (left, right)

    def _corners(self, node: ir.Node, operation: Callable[[int, int], int]) -> Interval | None:
        two = self._two(node)
        if two is None:
            return None
        results = [operation(left, right) for left in two[0] for right in two[1]]
        return min(results), max(results)

    def _divided(self, node: ir.Node) -> Interval | None:
        divisor = self.of(input_of(node, 1))
        if divisor is None or divisor[0] <= 0 <= divisor[1]:
            return None
        return self._corners(node, _truncated)

    def _remainder(self, node: ir.Node) -> Interval | None:
        two = self._two(node)
        if two is None or two[1][0] <= 0:
            return None
        (low, high), largest = two[0], two[1][1] - 1
        if low >= 0:
            return 0, min(high, largest)
        return (-largest, largest) if node.attributes.get_int("fmod", 0) else (0, largest)

    def _clipped(self, node: ir.Node) -> Interval | None:
        interval = self.of(input_of(node, 0))
        for index, choose in ((1, max), (2, min)):
            if input_of(node, index) is not None:
                bound = self.of(input_of(node, index))
                if interval is None or bound is None:
                    return None
                interval = choose(interval[0], bound[0]), choose(interval[1], bound[1])
        return interval

    def _summed(self, node: ir.Node) -> Interval | None:
        inner, before = self.of(input_of(node, 0)), self._static(input_of(node, 0))
        after = self._static(node.outputs[0])
        if inner is None or before is None or after is None or 0 in (*before, *after):
            return None
        count = math.prod(before) // math.prod(after) if is_op(node, "ReduceSum") else max(before, default=1)
        return min(inner[0], inner[0] * count), max(inner[1], inner[1] * count)

    def _counted(self, node: ir.Node) -> Interval | None:
        bounds = [ints_of(value) for value in node.inputs]
        if len(bounds) != 3 or any(not bound for bound in bounds):
            return None
        (start,), (limit,), (step,) = ([*(bound or [])] for bound in bounds)
        taken = range(start, limit, step) if step else range(0)
        return (min(taken[0], taken[-1]), max(taken[0], taken[-1])) if taken else None

    def _filled(self, node: ir.Node) -> Interval | None:
        value = node.attributes.get("value")
        if value is None:
            return None
        array = value.as_tensor().numpy()
        return (int(array.min()), int(array.max())) if array.dtype.kind in "iu" else None

    def _negated(self, node: ir.Node) -> Interval | None:
        inner = self.of(input_of(node, 0))
        return None if inner is None else (-inner[1], -inner[0])

    def _absolute(self, node: ir.Node) -> Interval | None:
        inner = self.of(input_of(node, 0))
        if inner is None:
            return None
        low = 0 if inner[0] <= 0 <= inner[1] else min(abs(inner[0]), abs(inner[1]))
        return low, max(abs(inner[0]), abs(inner[1]))

    _RULES: ClassVar[dict[str, Callable[["IntegerRanges", ir.Node], Interval | None]]] = {
        "Abs": _absolute,
        "Add": lambda self, node: self._corners(node, lambda left, right: left + right),
        "ArgMax": _index,
        "ArgMin": _index,
        "Cast": _cast,
        "Clip": _clipped,
        "Concat": lambda self, node: self._combined(node),
        "ConstantOfShape": _filled,
        "CumSum": _summed,
        "Div": _divided,
        "Max": lambda self, node: self._combined(node),
        "Min": lambda self, node: self._combined(node),
        "Mod": _remainder,
        "Mul": lambda self, node: self._corners(node, lambda left, right: left * right),
        "Neg": _negated,
        "NonZero": _coordinates,
        "Pad": _padded,
        "Range": _counted,
        "ReduceSum": _summed,
        "ScatterElements": _scattered,
        "ScatterND": _scattered,
        "Shape": _sizes,
        "Size": _sizes,
        "Sub": lambda self, node: self._corners(node, lambda left, right: left - right),
        "TopK": _index,
        "Where": lambda self, node: self._combined(node, 1, 2),
    }


def _truncated(left: int, right: int) -> int:
    """Divide as integers of a fixed width do: towards zero."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient
