"""Constants of rank 0 in the dtype that a node works in."""

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.surgery.graph_queries import label
from graphopt.surgery.node_builder import NodeBuilder


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
