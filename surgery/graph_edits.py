"""Change a model in small, safe steps: names of surviving tensors are kept, new names are fresh."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import graph_of, graphs_of, is_function_body, is_unused, subgraphs_of

_NAMES = "graphopt.names"


def fresh_name(model: ir.Model, stem: str) -> str:
    """Return a name that no value or node of the model has, ``stem`` itself when it is free.

    The names of the model are collected once and then kept beside it.
    """
    graph, taken = model.meta.get(_NAMES, (None, set()))
    if graph is not model.graph:  # none yet, or a whole new graph was put into the model
        taken = _all_names(model)
        model.meta[_NAMES] = (model.graph, taken)
    name, count = stem, 1
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return name


def add_constant(model: ir.Model, before: ir.Node, content: Array | ir.TensorProtocol, stem: str) -> ir.Value:
    """Return a new constant that ``before`` can read.

    It is an initializer of the node's graph; in the body of a function, which has none, a
    ``Constant`` node in front of it.

    Args:
        model: the model that holds ``before``.
        before: the first reader.
        content: an array, or a tensor (may be lazy; it is not read).
        stem: the name, made fresh when it is taken.
    """
    graph = graph_of(before)
    name = fresh_name(model, stem)
    # A scalar stays one: ascontiguousarray would give it an axis.
    tensor = ir.Tensor(np.asarray(content, order="C")) if isinstance(content, np.ndarray) else content
    if is_function_body(model, graph):
        constant = ir.node("Constant", [], {"value": tensor}, name=fresh_name(model, f"{name}_node"))
        constant.outputs[0].name = name
        describe(constant.outputs[0], tensor)
        graph.insert_before(before, constant)
        return constant.outputs[0]
    value = ir.Value(name=name, const_value=tensor)
    tensor.name = name
    describe(value, tensor)
    graph.register_initializer(value)
    return value


def describe(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Record the tensor's dtype and shape at a value."""
    value.type = ir.TensorType(tensor.dtype)
    value.shape = ir.Shape([int(size) for size in tensor.shape.numpy()])


def why_not_bypassed(node: ir.Node, index: int = 0, *, source: ir.Value | None = None) -> str | None:
    """Return why a node cannot give way to its input, or to ``source`` (a clause), or None when it can.

    An output that is a graph output must keep its name, so the value that takes its place must be
    free to be renamed: made by a node of the same graph, and no graph output itself.
    """
    source, output = source or node.inputs[index], node.outputs[0]
    if source is None:
        return "its input is left out"
    if not output.is_graph_output():
        return None
    if source.producer() is None or source.graph is not output.graph:
        return f"it makes the graph output {output.name} from {_origin(source)}, which must keep its own name"
    if source.is_graph_output():
        return f"it makes the graph output {output.name} from another graph output, {source.name}"
    return None


def bypass(model: ir.Model, node: ir.Node, index: int = 0) -> None:
    """Remove a node, its readers reading ``node.inputs[index]`` instead.

    A graph output keeps its name: the input is renamed, or, where that cannot be (see
    ``why_not_bypassed``), the node becomes an ``Identity``. What only the node needed is removed.
    """
    source, output = node.inputs[index], node.outputs[0]
    if source is None:
        raise ValueError(f"input {index} of {node.name} is left out")
    graph = graph_of(node)
    if why_not_bypassed(node, index) is not None:
        identity = ir.node("Identity", [source], name=node.name)
        identity.metadata_props.update(node.metadata_props)
        graph.insert_before(node, identity)
        take_over(identity.outputs[0], output)
    elif output.is_graph_output():
        take_over(source, output)
    else:
        _merge_type(source, output)
        output.replace_all_uses_with(source)
    remove_dead(model, [node])


def take_over(new: ir.Value, old: ir.Value) -> None:
    """Put ``new`` in the place of ``old``: its readers, its name, its standing as graph output, its type."""
    name = old.name
    _merge_type(new, old)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = None
    new.name = name
    new.metadata_props.update(old.metadata_props)


def replace_by_constant(model: ir.Model, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Let a node's output be a constant of the same name; the node stays, without this output's readers.

    An initializer takes its place; a ``Constant`` node for a graph output (an initializer that is a
    graph output is legal, but not every consumer of ONNX files copes) and in functions.
    """
    node = value.producer()
    if node is None:
        raise ValueError(f"{value.name} is not made by a node")
    graph = graph_of(node)
    if value.is_graph_output() or is_function_body(model, graph):
        node_name = fresh_name(model, f"{value.name}_constant")
        constant = ir.node("Constant", [], {"value": tensor}, name=node_name)
        graph.insert_before(node, constant)
        take_over(constant.outputs[0], value)
        describe(constant.outputs[0], tensor)
        return
    name = value.name
    value.name = None
    tensor.name = name
    new = ir.Value(name=name, const_value=tensor)
    describe(new, tensor)
    new.metadata_props.update(value.metadata_props)
    graph.register_initializer(new)
    value.replace_all_uses_with(new)


def remove_dead(model: ir.Model, start: Iterable[ir.Node] | None = None) -> int:
    """Remove nodes and initializers that nothing reads any more; return the number of nodes.

    Args:
        model: changed in place; graph inputs stay.
        start: look at these nodes and at what feeds them; None looks at the whole model.
    """
    sweep_all = start is None
    pending = [node for graph in graphs_of(model) for node in graph] if start is None else list(start)
    count = 0
    while pending:
        node = pending.pop()
        graph = node.graph
        if graph is None or not all(is_unused(output) for output in node.outputs):
            continue
        sources = [value for value in _reads(node) if value is not None]
        _forget(node)
        graph.remove(node, safe=True)
        count += 1
        for value in sources:
            _drop_if_unused(value, pending)
    if sweep_all:
        for graph in graphs_of(model):
            for value in list(graph.initializers.values()):
                _drop_if_unused(value, pending)
    return count


def remove_unread(model: ir.Model, values: Iterable[ir.Value]) -> None:
    """Remove initializers and nodes that made ``values``, as far as nothing reads them any more."""
    pending: list[ir.Node] = []
    for value in values:
        _drop_if_unused(value, pending)
    remove_dead(model, pending)


def _reads(node: ir.Node) -> Iterable[ir.Value | None]:
    yield from node.inputs
    for graph in subgraphs_of(node):
        for inner in graph.all_nodes():
            yield from inner.inputs


def _forget(node: ir.Node) -> None:
    # A removed subgraph must not count as a reader of outer values.
    for graph in subgraphs_of(node):
        for inner in list(graph.all_nodes()):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)


def _drop_if_unused(value: ir.Value, pending: list[ir.Node]) -> None:
    if not is_unused(value):
        return
    producer = value.producer()
    if producer is not None:
        pending.append(producer)
    elif value.is_initializer() and not value.is_graph_input() and value.graph is not None and value.name:
        value.graph.initializers.pop(value.name)


def _merge_type(target: ir.Value, other: ir.Value) -> None:
    if target.type is None:
        target.type = other.type
    if target.shape is None or (
        other.shape is not None and other.shape.is_static() and not target.shape.is_static()
    ):
        target.shape = other.shape


def _origin(value: ir.Value) -> str:
    if value.is_graph_input():
        return f"the graph input {value.name}"
    if value.is_initializer():
        return f"the initializer {value.name}"
    return f"{value.name} of an outer graph"


def _all_names(model: ir.Model) -> set[str]:
    names: set[str] = set()
    for graph in graphs_of(model):
        names.update(value.name for value in graph.inputs if value.name)
        names.update(graph.initializers)
        for node in graph:
            names.update(name for name in (node.name, *(value.name for value in node.outputs)) if name)
    return names
