"""Ask a model about its nodes, constants and uses; nothing here changes it."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array

ONNX_DOMAIN = ""


def graphs_of(model: ir.Model) -> Iterator[ir.Graph]:
    """Yield the main graph, each function's graph, and every subgraph of both."""
    for root in root_graphs(model):
        yield root
        yield from root.subgraphs()


def root_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Yield the main graph and each function's graph, without subgraphs."""
    yield model.graph
    for function in model.functions.values():
        yield function.graph


def nodes_of(model: ir.Model, *op_types: str, domain: str = ONNX_DOMAIN) -> Iterator[ir.Node]:
    """Yield the nodes of main graph, subgraphs and functions, in order.

    Nodes that are removed from their graph while this runs are left out.

    Args:
        model: where to look.
        op_types: operators of ``domain``; none means every node of every domain.
        domain: domain of ``op_types``.
    """
    wanted = frozenset(op_types)
    found = [
        node
        for root in root_graphs(model)
        for node in root.all_nodes()
        if not wanted or (node.op_type in wanted and node.domain == domain)
    ]
    for node in found:
        if node.graph is not None:
            yield node


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether ``node`` is one of these operators of the standard domain."""
    return node is not None and node.domain == ONNX_DOMAIN and node.op_type in op_types


def opset_of(model: ir.Model, node: ir.Node) -> int:
    """Return the version of the standard operators that ``node`` follows (a function may have its own)."""
    for function in model.functions.values():
        if function.graph is node.graph:
            return function.opset_imports.get(ONNX_DOMAIN, model.opset_imports.get(ONNX_DOMAIN, 1))
    return model.opset_imports.get(ONNX_DOMAIN, 1)


def is_function_body(model: ir.Model, graph: ir.Graph) -> bool:
    """Whether ``graph`` is the body of a model-local function, which cannot hold initializers."""
    return any(function.graph is graph for function in model.functions.values())


def graph_of(node: ir.Node) -> ir.Graph:
    """Return the graph that holds ``node``.

    Raises:
        ValueError: the node was removed from its graph.
    """
    if node.graph is None:
        raise ValueError(f"{label(node)} is in no graph")
    return node.graph


def label(node: ir.Node) -> str:
    """Name a node for messages: operator and node name, or its first output where it has none."""
    name = node.name or next((value.name for value in node.outputs if value.name), None)
    return f"{node.op_type} {name or '(unnamed)'}"


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input; None when it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor that a value always holds, without reading its elements; else None.

    Looks at initializers that are not graph inputs (those may be overridden), at ``Constant``
    nodes, and through ``Identity``.
    """
    while value is not None:
        producer = value.producer()
        if producer is None:
            return value.const_value if value.is_initializer() and not value.is_graph_input() else None
        if is_op(producer, "Identity"):
            value = producer.inputs[0]
        elif is_op(producer, "Constant"):
            return _tensor_of_constant(producer)
        else:
            return None
    return None


def constant_of(value: ir.Value | None) -> Array | None:
    """Return what a value always holds, else None; reads the elements, unlike ``constant_tensor``."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def ints_of(value: ir.Value | None) -> list[int] | None:
    """Return a constant integer tensor, flattened; None when it is not constant."""
    array = constant_of(value)
    return None if array is None else [int(item) for item in array.ravel()]


def attribute_int(node: ir.Node, name: str, default: int) -> int:
    """Return an integer attribute, or ``default`` when it is left out.

    Raises:
        ValueError: it refers to an attribute of the enclosing function.
    """
    return node.attributes.get_int(name, default)


def has_attribute_references(node: ir.Node) -> bool:
    """Whether an attribute takes its value from the enclosing function's attribute."""
    return any(attribute.is_ref() for attribute in node.attributes.values())


def subgraphs_of(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs that the node carries (``If``, ``Loop``, ``Scan``)."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def has_subgraph(node: ir.Node) -> bool:
    """Whether the node carries a graph."""
    return bool(subgraphs_of(node))


def used_elsewhere(value: ir.Value, node: ir.Node) -> str | None:
    """Return who besides ``node`` reads a value (a clause), or None when nobody does."""
    if value.is_graph_output():
        return f"{value.name} is a graph output"
    other = next((user for user, _ in value.uses() if user is not node), None)
    return None if other is None else f"{value.name} is also read by {label(other)}"


def is_unused(value: ir.Value) -> bool:
    """Whether nothing reads a value and it is no graph output."""
    return not value.uses() and not value.is_graph_output()


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the recorded shape when every size is a number, else None."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(size) for size in value.shape.numpy())


def shape_text(shape: ir.Shape | None) -> str:
    """Write a shape as ``[batch, 3, ?, 224]``; ``?`` when even the rank is unknown."""
    if shape is None:
        return "?"
    return "[" + ", ".join(_size_text(size) for size in shape) + "]"


def _size_text(size: int | ir.SymbolicDim) -> str:
    if isinstance(size, int):
        return str(size)
    return "?" if size.value is None else str(size.value)


def _tensor_of_constant(node: ir.Node) -> ir.TensorProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            tensor: ir.TensorProtocol = attribute.value  # as_tensor() checks a protocol, which is slow
            return tensor
        if name in ("value_int", "value_ints"):
            return ir.Tensor(np.array(attribute.value, dtype=np.int64))
        if name in ("value_float", "value_floats"):
            return ir.Tensor(np.array(attribute.value, dtype=np.float32))
    return None
