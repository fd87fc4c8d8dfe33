"""Gelu, HardSwish and Mish from elementary operators."""

import math

import onnx_ir as ir

from graphopt.surgery.decompositions.scalars import scalar
from graphopt.surgery.node_builder import NodeBuilder

_TANH_CUBE = 0.044715
"""Of the tanh approximation; Hendrycks and Gimpel, arXiv 1606.08415, section 2."""


def gelu(new: NodeBuilder, node: ir.Node, dtype: ir.DataType) -> ir.Value:
    """Write ``x * (1 + erf(x / sqrt(2))) / 2``, or the tanh form where the node asks for it."""
    data = node.inputs[0]
    assert data is not None
    half, one = scalar(new, 0.5, dtype, "half"), scalar(new, 1.0, dtype, "one")
    if node.attributes.get_string("approximate", "none") == "tanh":
        cube = new.op("Mul", new.op("Mul", data, data, like=data), data, like=data)
        small = new.op("Mul", cube, scalar(new, _TANH_CUBE, dtype, "cube"), like=data)
        inner = new.op("Add", data, small, like=data)
        scaled = new.op("Mul", inner, scalar(new, math.sqrt(2 / math.pi), dtype, "factor"), like=data)
        curve = new.op("Tanh", scaled, like=data)
    else:
        scaled = new.op("Div", data, scalar(new, math.sqrt(2), dtype, "root"), like=data)
        curve = new.op("Erf", scaled, like=data)
    product = new.op("Mul", data, new.op("Add", curve, one, like=data), like=data)
    return new.op("Mul", product, half, like=data)


def hardswish(new: NodeBuilder, node: ir.Node) -> ir.Value:
    """Write ``x * max(0, min(1, x / 6 + 1 / 2))`` with HardSigmoid."""
    data = node.inputs[0]
    gate = new.op("HardSigmoid", data, attributes={"alpha": 1 / 6, "beta": 0.5}, like=data)
    return new.op("Mul", data, gate, like=data)


def mish(new: NodeBuilder, node: ir.Node) -> ir.Value:
    """Write ``x * tanh(softplus(x))``."""
    data = node.inputs[0]
    curve = new.op("Tanh", new.op("Softplus", data, like=data), like=data)
    return new.op("Mul", data, curve, like=data)
