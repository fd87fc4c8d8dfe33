"""The pass ``gemm_to_matmul``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    nodes_of,
    opset_of,
)
from graphopt.surgery.node_builder import NodeBuilder

_FIRST_THAT_BROADCASTS = 7
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


@dataclass(frozen=True, kw_only=True)
class GemmToMatmul(GraphPass):
    """Replace Gemm by MatMul and Add.

    Why: compilers fuse and tile MatMul + Add more freely, and patterns for attention or layers
    with activations are written for it; a Gemm in between breaks them.
    Before: ``x -> Gemm(., w, b, transB=1, alpha=2)``.
    After: ``x -> MatMul(., 2 w^T) -> Add(., b)``; constants are scaled and turned beforehand.
    Seen in: deepmar_bs1.
    Known as: gemm-matmul-add (21).
    """

    name: ClassVar[str] = "gemm_to_matmul"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Gemm of floats."""
        for node in nodes_of(model, "Gemm"):
            if opset_of(model, node) < _FIRST_THAT_BROADCASTS:
                yield Declined(node=node, why="Gemm of opset 6 and older broadcasts by an attribute")
            elif has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
            elif (reason := _why_not_scaled(node)) is not None:
                yield Declined(node=node, why=reason)
            else:
                bias = "MatMul and Add" if input_of(node, 2) is not None else "MatMul"
                yield Site(node=node, what=f"becomes {bias}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the product and the sum; what is constant is computed now."""
        node = site.node
        alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
        left, right, bias = node.inputs[0], node.inputs[1], input_of(node, 2)
        replaced = [value for value in node.inputs[1:] if value is not None]
        new = NodeBuilder(model, node)
        if attribute_int(node, "transA", 0):
            left = new.op("Transpose", left, attributes={"perm": [1, 0]})
        transposed = bool(attribute_int(node, "transB", 0))
        tensor = constant_tensor(right)
        if tensor is not None:
            if transposed or alpha != 1.0:
                array = tensor.numpy().T if transposed else tensor.numpy()
                right = new.constant(_times(array, alpha), "matrix")
            alpha = 1.0
        elif transposed:
            right = new.op("Transpose", right, attributes={"perm": [1, 0]})
        result = new.op("MatMul", left, right, like=node.outputs[0])
        if alpha != 1.0:
            result = new.op("Mul", result, new.constant(_scalar(node, alpha)), like=result)
        if bias is not None:
            result = new.op("Add", result, _scaled_bias(new, node, bias, beta), like=result)
        new.replace(result)
        remove_unread(model, replaced)


def _scaled_bias(new: NodeBuilder, node: ir.Node, bias: ir.Value, beta: float) -> ir.Value:
    if beta == 1.0:
        return bias
    tensor = constant_tensor(bias)
    if tensor is not None:
        return new.constant(_times(tensor.numpy(), beta), "bias")
    return new.op("Mul", bias, new.constant(_scalar(node, beta)), like=bias)


def _why_not_scaled(node: ir.Node) -> str | None:
    """Return why a factor cannot be written as a constant of the right dtype."""
    factors = (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0))
    if all(factor == 1.0 for factor in factors) or _dtype(node) in _FLOATS:
        return None
    return "it scales numbers whose dtype is no float that is known"


def _dtype(node: ir.Node) -> ir.DataType | None:
    known = (tensor.dtype for value in node.inputs[1:] if (tensor := constant_tensor(value)) is not None)
    declared = (value.dtype for value in (*node.inputs, *node.outputs) if value is not None and value.dtype)
    return next((dtype for dtype in (*known, *declared)), None)


def _scalar(node: ir.Node, factor: float) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    dtype = _dtype(node) or ir.DataType.FLOAT
    return np.array(factor, dtype.numpy())


def _times(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], factor: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return array if factor == 1.0 else (array.astype(np.float64) * factor).astype(array.dtype)
