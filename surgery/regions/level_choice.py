"""Which level of a feature pyramid a region belongs to, read off the arithmetic that says so.

Detectors write ``floor(k + log2(sqrt(area) / size))``, clipped, in several ways; all come down to the
side from which on a region leaves the finest level.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_of, input_of, is_op
from graphopt.surgery.regions.roi_table import casts_to_float, single_column, whole
from graphopt.surgery.shapes.known_types import KnownTypes

_SMALL = 1e-5
"""Detectors add less, lest a power of two is rounded down: 1e-6 in mmdet, torchvision; 1e-8 in Detectron2."""
Column = tuple[ir.Value, int]


@dataclass(frozen=True)
class LevelChoice:
    """``clip(floor(log2(sqrt(width * height) / finest)), 0, levels - 1)``.

    Attributes:
        finest: half the side from which on a region belongs to the second level, in pixels.
        levels: how many there are.
        corners: x1, y1, x2, y2 of the regions.
    """

    finest: float
    levels: int
    corners: tuple[Column, Column, Column, Column]


@dataclass(frozen=True)
class _Line:
    """``scale * source + offset``."""

    scale: float
    offset: float
    source: ir.Value


def level_choice(model: ir.Model, types: KnownTypes, value: ir.Value) -> LevelChoice | str:
    """Read the level of each region off what computes it.

    Args:
        model: not changed.
        types: of the model.
        value: whole numbers [R].

    Returns:
        The choice, or a clause that says what is not understood.
    """
    added, low, high = 0.0, -math.inf, math.inf
    node = value.producer()
    while node is not None and not is_op(node, "Floor"):
        bounds = _bounds(node)
        amount = _amount(node)
        if bounds is not None:
            low, high = max(low, bounds[0] + added), min(high, bounds[1] + added)
        elif amount is not None:
            added += amount
        elif not is_op(node, "Cast", "Identity"):
            return f"{node.op_type} {node.name or node.outputs[0].name} is no part of a choice by size"
        first = next((item for item in node.inputs if constant_of(item) is None), None)
        node = None if first is None else first.producer()
    if node is None or node.inputs[0] is None:
        return "its level is not rounded down from anything"
    if low != 0 or not math.isfinite(high) or high != int(high):
        return f"its levels run from {low:g} to {high:g}, not from 0"
    return _by_size(model, types, node.inputs[0], added, int(high) + 1)


def _by_size(
    model: ir.Model, types: KnownTypes, value: ir.Value, added: float, levels: int
) -> LevelChoice | str:
    outer = _line(value)
    log = outer.source.producer()
    if not is_op(log, "Log") or abs(outer.scale * math.log(2) - 1) > _SMALL:
        return "its level does not grow by one with the doubling of a size"
    assert log is not None
    assert log.inputs[0] is not None
    inner = _line(log.inputs[0])
    steps = round(outer.offset)
    if abs(outer.offset - steps) > _SMALL or not 0 <= inner.offset <= _SMALL or inner.scale <= 0:
        return "its level is not chosen by a multiple of the size"
    corners = _corners(model, types, inner.source)
    if corners is None:
        return "its level is not chosen by the root of width times height"
    finest = 2.0 ** -(steps + added) / inner.scale
    return LevelChoice(finest, levels, corners)


def _corners(
    model: ir.Model, types: KnownTypes, value: ir.Value
) -> tuple[Column, Column, Column, Column] | None:
    root = value.producer()
    is_root = is_op(root, "Sqrt") or (
        is_op(root, "Pow") and root is not None and _number(input_of(root, 1)) == 0.5
    )
    area = root.inputs[0].producer() if is_root and root is not None and root.inputs[0] is not None else None
    if not is_op(area, "Mul"):
        return None
    assert area is not None
    ends = []
    for side in area.inputs:
        difference = None if side is None else side.producer()
        if not is_op(difference, "Sub"):
            return None
        assert difference is not None
        for end in difference.inputs:
            column = None if end is None else single_column(model, types, end)
            if column is None:
                return None
            ends.append(column)
    (right, left), (bottom, top) = ends[:2], ends[2:]
    return (left, top, right, bottom)


def _line(value: ir.Value) -> _Line:
    """Walk back through sums and products with constants."""
    scale, offset = 1.0, 0.0
    while True:
        node = value.producer()
        if node is None or not is_op(node, "Add", "Sub", "Mul", "Div", "Identity", "Cast"):
            return _Line(scale, offset, value)
        first, second = input_of(node, 0), input_of(node, 1)
        if is_op(node, "Identity", "Cast"):
            if first is None or (node.op_type == "Cast" and not casts_to_float(node)):
                return _Line(scale, offset, value)
            value = first
            continue
        number, other = _number(second), first
        if number is None and node.op_type in ("Add", "Mul"):
            number, other = _number(first), second
        if number is None or other is None or (node.op_type == "Div" and number == 0):
            return _Line(scale, offset, value)
        if node.op_type in ("Add", "Sub"):
            offset += scale * (number if node.op_type == "Add" else -number)
        else:
            scale = scale * number if node.op_type == "Mul" else scale / number
        value = other


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """Return between which numbers a node keeps its input; None when it does not."""
    if is_op(node, "Clip"):
        ends = []
        for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
            held = node.attributes.get(name)
            given = input_of(node, index)
            number = float(held.as_float()) if held is not None and not held.is_ref() else _number(given)
            if number is None and given is not None:
                return None
            ends.append(default if number is None else number)
        return ends[0], ends[1]
    if is_op(node, "Max", "Min") and len(node.inputs) == 2:
        number = next((found for item in node.inputs if (found := _number(item)) is not None), None)
        if number is not None:
            return (number, math.inf) if node.op_type == "Max" else (-math.inf, number)
    return None


def _amount(node: ir.Node) -> float | None:
    """Return what a node adds to whole numbers."""
    if not is_op(node, "Add", "Sub"):
        return None
    number = whole(input_of(node, 1))
    if number is None and node.op_type == "Add":
        number = whole(input_of(node, 0))
    if number is None:
        return None
    return float(number if node.op_type == "Add" else -number)


def _number(value: ir.Value | None) -> float | None:
    array = constant_of(value)
    return float(np.ravel(array)[0]) if array is not None and array.size == 1 else None
