"""Dtypes and shapes of an operator's outputs from its body, where nothing shorter says them."""

from collections.abc import Callable, Sequence

import onnx
import onnx_ir as ir

from graphopt.core.operator_bodies import body_of


def shapes_from_body() -> Callable[[ir.Node], Sequence[onnx.NodeProto] | None]:
    """Return a ``shaped_like`` for an operator with a body: inferences read the body itself.

    A call inside a subgraph that does not say its opset stays unknown.
    """
    return _body_as_stand_in


def _body_as_stand_in(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    graph = node.graph
    opset = graph.opset_imports.get("") if graph is not None else None
    function = body_of(node, opset) if opset is not None else None
    if function is None:
        return None
    names = {
        formal.name: value.name
        for formal, value in zip(function.inputs, node.inputs, strict=False)
        if value is not None
    }
    names |= {
        inner.name: value.name
        for inner, value in zip(function.outputs, node.outputs, strict=False)
        if value.name
    }
    return [_renamed(item, names) for item in function]


def _renamed(node: ir.Node, names: dict[str | None, str | None]) -> onnx.NodeProto:
    proto = ir.serde.serialize_node(node)
    for field in (proto.input, proto.output):
        for index, name in enumerate(field):
            field[index] = names.get(name) or name
    return proto
