"""Undo a choice of rows before the candidates: rows of zeros score nothing, and sizes stay known.

YOLO's heads leave out the places of low confidence before classes are looked at at all. Where every later
step looks at each row on its own, and the score of a row of zeros exceeds no threshold, the rows may stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.rows import Element, RowTracker
from graphopt.surgery.graph_edits import remove_dead, take_over
from graphopt.surgery.graph_queries import attribute_int, input_of, is_op, nodes_of
from graphopt.surgery.semantics.slicing import cuts_of
from graphopt.surgery.values.value_signs import is_zero
from graphopt.surgery.versioned_builder import VersionedBuilder

_ZERO_STAYS = ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Unsqueeze")
_EACH_ELEMENT = ("Add", "Clip", "Div", "Exp", "Max", "Min", "Sigmoid", "Sub")
_AS_INPUTS = 11
"""An opset in which ``Slice`` takes all as inputs, as in every opset with what is looked at here."""
_SIZES = ("Shape", "Size")


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """A choice of rows.

    Attributes:
        node: the NonZero.
        mask: bool[N], which rows are chosen.
        picked: tensors [K, ...] that hold the chosen rows, each with the one [N, ...] of all, and its sizes.
    """

    node: ir.Node
    mask: ir.Value
    picked: Sequence[tuple[ir.Value, ir.Value, tuple[int, ...]]]


def row_filters(model: ir.Model, facts: Facts, rows: RowTracker) -> list[RowFilter]:
    """Return all choices of rows, when each can be undone; none otherwise.

    Args:
        model: its main graph is looked at.
        facts: of the model.
        rows: of the model.
    """
    found = []
    for node in nodes_of(model, "NonZero"):
        one = _filter(node, facts, rows) if node.graph is model.graph else None
        if one is not None:
            found.append(one)
    picked = [value for item in found for value, *_ in item.picked]
    return found if picked and _rows_of_zeros_score_nothing(model, picked, facts, rows) else []


def undo_filter(model: ir.Model, item: RowFilter) -> None:
    """Let all rows stay, those that were not chosen as zeros."""
    for value, source, shape in item.picked:
        node = value.producer()
        if node is None:
            continue
        build = VersionedBuilder(model, node)
        mask = build.reshape(item.mask, (shape[0], *(1,) * (len(shape) - 1)))
        zero = build.constant(np.zeros((), np.float32), "zero")
        kept = build.op("Where", mask, source, zero)
        kept.type, kept.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(list(shape))
        take_over(kept, value)
        remove_dead(model, [node])


def _filter(node: ir.Node, facts: Facts, rows: RowTracker) -> RowFilter | None:
    mask = node.inputs[0]
    sizes = None if mask is None else facts.static(mask)
    if mask is None or sizes is None or len(sizes) != 1:
        return None
    picked: list[tuple[ir.Value, ir.Value, tuple[int, ...]]] = []
    pending = [node.outputs[0]]
    while pending:
        value = pending.pop()
        users = [user for user, _ in value.uses()]
        if value.is_graph_output():
            return None
        held = rows.of(value)
        columns = [] if held is None else held.listed()
        if columns and all(isinstance(column, Element) for column in columns):
            source = _taken_from(value)
            shape = None if source is None else facts.static(source)
            if source is None or shape is None or facts.dtype(source) is not ir.DataType.FLOAT:
                return None
            picked.append((value, source, shape))
        elif any(rows.of(user.outputs[0]) is None for user in users):
            return None
        else:
            pending.extend(user.outputs[0] for user in users)
    return RowFilter(node=node, mask=mask, picked=picked)


def _taken_from(value: ir.Value) -> ir.Value | None:
    """Return the tensor of which whole rows are taken."""
    node = value.producer()
    if node is None or not is_op(node, "Gather") or attribute_int(node, "axis", 0) != 0:
        return None
    return node.inputs[0]


def _rows_of_zeros_score_nothing(
    model: ir.Model, picked: Sequence[ir.Value], facts: Facts, rows: RowTracker
) -> bool:
    """Follow rows until a threshold that zero does not exceed decides about them."""
    zero = dict.fromkeys(picked, True)
    compared = False
    for node in model.graph:
        own = [value for value in node.inputs if value is not None and value in zero]
        if not own or node.outputs[0] in zero or is_op(node, *_SIZES) or _is_choice(node, rows):
            continue
        if is_op(node, "Greater") and own[0] is node.inputs[0] and zero[own[0]]:
            threshold = facts.number(node.inputs[1])
            if threshold is None or threshold < 0:
                return False
            compared = True
            continue
        stays = (
            None if node.inputs[0] not in zero and is_op(node, "Gather") else _stays_zero(node, zero, facts)
        )
        if stays is None or len(node.outputs) > 1:
            return False
        zero[node.outputs[0]] = stays
    return compared and not any(value.is_graph_output() for value in zero)


def _is_choice(node: ir.Node, rows: RowTracker) -> bool:
    """Whether a node takes the rows of the candidates that count."""
    return is_op(node, "Gather") and rows.of(input_of(node, 1)) is not None


def _stays_zero(node: ir.Node, zero: Mapping[ir.Value, bool], facts: Facts) -> bool | None:
    """Return whether rows of zeros give rows of zeros; None when rows are not looked at one by one."""
    inputs = [value for value in node.inputs if value is not None]
    known = [zero[value] for value in inputs if value in zero]
    if is_op(node, "Mul"):
        return any(known)
    if is_op(node, *_ZERO_STAYS):
        return known[0]
    if is_op(node, "Slice"):
        shape = facts.shape(inputs[0])
        cuts = "" if shape is None else cuts_of(node, _AS_INPUTS, len(shape))
        return None if isinstance(cuts, str) or 0 in cuts else known[0]
    if is_op(node, "Gather"):
        return None if attribute_int(node, "axis", 0) == 0 else known[0]
    if is_op(node, "Concat"):
        along = attribute_int(node, "axis", 0) == 0
        return all(zero.get(value, along or is_zero(value)) for value in inputs)
    return False if is_op(node, *_EACH_ELEMENT) else None
