"""Whether what follows proposals looks at each on its own, so that more rows change nothing for others."""

from collections.abc import Iterable

import onnx_ir as ir

from graphopt.surgery.detection.class_offset import offset_node
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.rows import RowTracker
from graphopt.surgery.graph_queries import input_of, ints_of, is_op, label, nodes_of

_OVER_AXES = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_OVER_AXIS = {
    "ArgMax": 0,
    "ArgMin": 0,
    "CumSum": None,
    "Hardmax": -1,
    "LogSoftmax": -1,
    "Softmax": -1,
    "TopK": -1,
}
"""With the axis that is meant when none is given; None where it is an input."""
_PRODUCTS = ("Gemm", "MatMul")
_SIZES = ("Shape", "Size")


def mixes_rows(
    model: ir.Model, first: ir.Node, proposals: Iterable[ir.Value], facts: Facts, rows: RowTracker
) -> str | None:
    """Return which node puts rows of proposals together (a clause); None when none is known to.

    Rows are taken to lie along the first axis; the offset that keeps classes apart in another suppression
    does not count, nor does what is chosen by it.

    Args:
        model: that holds them.
        first: the suppression that chose them.
        proposals: tensors with one row for each.
        facts: of the model.
        rows: of the model.
    """
    offsets = {offset_node(nms, facts) for nms in nodes_of(model, "NonMaxSuppression")}
    pending, dependent = list(proposals), set(proposals)
    while pending:
        for node, _ in pending.pop().uses():
            if is_op(node, *_SIZES, "NonMaxSuppression") or node in offsets:
                continue
            if _is_over_rows(node, facts) or _multiplies_rows(node, dependent):
                return f"{label(node)} puts rows of proposals together, and missing ones would count"
            found = [value for value in node.outputs if value not in dependent]
            new = [value for value in found if _chooser(value, rows) in (None, first)]
            dependent.update(new)
            pending.extend(new)
    return None


def _chooser(value: ir.Value, rows: RowTracker) -> ir.Node | None:
    """Return the suppression whose choice a tensor holds."""
    held = rows.of(value)
    return held.root if held is not None and is_op(held.root, "NonMaxSuppression") else None


def _is_over_rows(node: ir.Node, facts: Facts) -> bool:
    if is_op(node, *_OVER_AXES):
        attribute = node.attributes.get("axes")
        axes = list(attribute.as_ints()) if attribute is not None else ints_of(input_of(node, 1))
    elif is_op(node, *_OVER_AXIS):
        default = _OVER_AXIS[node.op_type]
        found = node.attributes.get("axis")
        given = ints_of(input_of(node, 1)) if default is None else [default]
        axes = given if found is None else [found.as_int()]
    else:
        return False
    shape = None if node.inputs[0] is None else facts.shape(node.inputs[0])
    if not axes:
        return True
    return any(axis == 0 or (shape is not None and axis % len(shape) == 0) for axis in axes)


def _multiplies_rows(node: ir.Node, dependent: set[ir.Value]) -> bool:
    return is_op(node, *_PRODUCTS) and len([value for value in node.inputs[:2] if value in dependent]) > 1
