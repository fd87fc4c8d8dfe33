"""Nodes that onnxruntime cannot run, and how large what they make is.

A body for such an operator (ours, or a model-local function of its name) makes it runnable: nothing
here then takes it for foreign.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.operator_bodies import body_of
from graphopt.core.operators import at_home
from graphopt.core.tensors import Dim, TensorSpec
from graphopt.surgery.graph_queries import subgraphs_of
from graphopt.surgery.shapes.shape_analysis import analyse_shapes

Operator = tuple[str, str]
"""Domain and name."""
_RUNTIME_DOMAINS = ("ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training")


def operator_of(node: ir.Node) -> str:
    """Return the operator's name with its domain, as users know it."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def foreign_nodes(model: ir.Model, refused: Collection[Operator] = ()) -> list[ir.Node]:
    """Return the nodes of the main graph that onnxruntime cannot run.

    A node that carries a graph, or calls a function, with such an operator inside counts as a whole.

    Args:
        model: where to look.
        refused: operators that onnxruntime knows and yet refused (no kernel for a type).
    """
    search = _Search(model, frozenset(refused))
    return [node for node in model.graph if search.is_foreign(node)]


@dataclass
class _Search:
    model: ir.Model
    refused: frozenset[Operator]

    def is_foreign(self, node: ir.Node, inside: frozenset[ir.OperatorIdentifier] = frozenset()) -> bool:
        if (node.domain, node.op_type) in self.refused:
            return True
        if any(self.is_foreign(item, inside) for graph in subgraphs_of(node) for item in graph):
            return True
        identifier = node.op_identifier()
        function = self.model.functions.get(identifier)
        if function is not None:
            return identifier not in inside and any(
                self.is_foreign(item, inside | {identifier}) for item in function
            )
        if node.domain == "":
            return not onnx.defs.has(node.op_type, "")
        if at_home(node) is not None:
            return body_of(node, self.model.opset_imports.get("", 1)) is None
        return node.domain not in _RUNTIME_DOMAINS


def output_specs_of(
    model: ir.Model, nodes: Collection[ir.Node], sizes: Mapping[str, tuple[Dim, ...]]
) -> dict[str, TensorSpec]:
    """Return the tensors that foreign nodes make, as far as their size can be told.

    What the file declares is believed; else shape inference tells, which knows some foreign operators.

    Args:
        model: not changed.
        nodes: foreign nodes of its main graph.
        sizes: shapes of the graph inputs.
    """
    found = {}
    values = [value for node in nodes for value in node.outputs if value.name]
    for value in values:
        shape = _declared(value)
        if shape is not None and value.dtype is not None:
            found[value.name or ""] = _spec(value.name, shape, value.dtype)
    if len(found) == len(values):
        return found
    for name, shape, dtype in _inferred(model, sizes):
        if name not in found:
            found[name] = _spec(name, shape, dtype)
    wanted = {value.name for value in values}
    return {name: spec for name, spec in found.items() if name in wanted}


def _declared(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(value.shape) else None


def _spec(name: str | None, shape: tuple[int, ...], dtype: ir.DataType) -> TensorSpec:
    return TensorSpec(name=name or "", shape=shape, dtype=str(dtype.numpy()))


def _inferred(
    model: ir.Model, sizes: Mapping[str, tuple[Dim, ...]]
) -> Iterator[tuple[str, tuple[int, ...], ir.DataType]]:
    try:
        types, _ = analyse_shapes(model, inputs=sizes)
    except PreconditionError:
        return
    for value, known in types.items():
        if value.name and known.static is not None and known.dtype is not None:
            yield value.name, known.static, known.dtype
