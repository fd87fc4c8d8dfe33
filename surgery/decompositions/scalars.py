"""Constants and reductions in the form that an opset wants."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.surgery.graph_queries import label
from graphopt.surgery.node_builder import Attribute, NodeBuilder

_AXES_AS_INPUT = {"ReduceSum": 13}
"""First opset in which a reduction reads its axes; 18 for the others."""


def scalar(new: NodeBuilder, number: float, dtype: ir.DataType, stem: str = "constant") -> ir.Value:
    """Return a constant of rank 0."""
    return new.constant(np.array(number, dtype=dtype.numpy()), stem)


def float_type(node: ir.Node, inferred: ir.DataType | None = None) -> ir.DataType:
    """Return the dtype that a node of floats works in.

    Raises:
        PreconditionError: nothing tells it.
    """
    declared = (value.dtype for value in (*node.inputs, *node.outputs) if value is not None)
    found = next((dtype for dtype in (inferred, *declared) if dtype is not None), None)
    if found is None:
        raise PreconditionError(f"the dtype of {label(node)} is not known; export the model with shapes")
    return found


def reduce(
    new: NodeBuilder,
    op_type: str,
    data: ir.Value,
    axes: Sequence[int],
    opset: int,
    *,
    keepdims: bool = True,
) -> ir.Value:
    """Insert a reduction over some axes, which are an attribute or an input by opset."""
    attributes: dict[str, Attribute] = {"keepdims": int(keepdims)}
    if opset < _AXES_AS_INPUT.get(op_type, 18):
        return new.op(op_type, data, attributes=attributes | {"axes": list(axes)})
    return new.op(op_type, data, new.constant(np.array(axes, np.int64), "axes"), attributes=attributes)


def unsqueeze(new: NodeBuilder, data: ir.Value, axes: Sequence[int], opset: int) -> ir.Value:
    """Insert axes of size 1."""
    return _axes_op(new, "Unsqueeze", data, axes, opset)


def squeeze(new: NodeBuilder, data: ir.Value, axes: Sequence[int], opset: int) -> ir.Value:
    """Remove axes of size 1."""
    return _axes_op(new, "Squeeze", data, axes, opset)


def _axes_op(new: NodeBuilder, op_type: str, data: ir.Value, axes: Sequence[int], opset: int) -> ir.Value:
    if not axes:
        return data
    if opset < 13:
        return new.op(op_type, data, attributes={"axes": list(axes)})
    return new.op(op_type, data, new.constant(np.array(axes, np.int64), "axes"))
