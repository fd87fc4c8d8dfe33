"""Cut a part out of a model: everything between some tensors and others, or around one node."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import onnx_ir as ir

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.graph_queries import is_op, label, root_graphs, subgraphs_of
from graphopt.surgery.lookup import carriers, find_tensors
from graphopt.surgery.shapes.shape_analysis import analyse_shapes
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_MAX_SIZE_NODES = 100
"""Sizes are computed by fewer nodes than this; a longer walk has left them."""


def extract_model(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """Return a new model of what lies between ``inputs`` and ``outputs``.

    Weights are shared with ``model``, which is not changed; a saved result refers to neither. Names,
    functions, subgraphs with what they capture, and metadata are kept. The new inputs and outputs get
    the dtype and shape that inference finds for them, else the recorded ones.

    Args:
        model: the whole.
        inputs: tensors of the main graph, each by name or as ``NODE:INDEX``; may be none.
        outputs: as ``inputs``; at least one.

    Raises:
        UsageError: a name is unknown or given twice, an output does not depend on the inputs or
            needs one that is not given, or nothing between them reads an input.
        PreconditionError: the dtype or the rank of an input or output is unknown; ONNX wants both.
    """
    starts = _distinct(model, inputs, "inputs")
    ends = _distinct(model, outputs, "outputs")
    if not ends:
        raise UsageError("name at least one output of the part")
    both = [value.name for value in ends if value in set(starts)]
    if both:
        raise UsageError(f"{both[0]} is given as input and as output: no node lies between")
    nodes = _between(model, starts, ends)
    _check_connected(model, starts, ends, nodes)
    types = _types_of(model, [*starts, *ends])
    for value in (*starts, *ends):
        _check_type(value, types)
    part = _copy(model, starts, ends, nodes)
    for new, old in zip((*part.inputs, *part.outputs), (*starts, *ends), strict=True):
        _record(new, old, types)
    functions = _functions_used(model, part)
    return ir.Model(
        part,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=[function.clone() for function in functions],
        metadata_props=dict(model.metadata_props),
    )


def neighbourhood(model: ir.Model, node: ir.Node, radius: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the tensors that enter and leave the part around a node.

    Constants belong to the part, and so do computations of sizes: without them it could not run on
    inputs that are made up. A node inside a subgraph stands for the node of the main graph that
    carries it.

    Args:
        model: holds ``node``; not changed.
        node: the centre.
        radius: how many nodes to go, up and down; 0 takes the node alone.

    Raises:
        UsageError: the radius is negative.
        PreconditionError: the node is in the body of a function, or was removed.
    """
    if radius < 0:
        raise UsageError(f"the radius is {radius}; give 0 or more")
    graph = model.graph
    carrier = carriers(graph)
    inside = {_in_main_graph(model, node, carrier)}
    edge = set(inside)
    for _ in range(radius):
        edge = {near for item in edge for near in _neighbours(graph, item, carrier)} - inside
        inside |= edge
    for item in list(inside):
        for value in _reads(graph, item):
            inside |= _size_nodes(graph, value)
    kept = [item for item in graph if item in inside]
    entering = [
        value
        for item in kept
        for value in _reads(graph, item)
        if value.producer() not in inside and not _is_weight(value)
    ]
    leaving = [
        value
        for item in kept
        for value in item.outputs
        if value.is_graph_output() or any(user not in inside for user in _users(value, carrier))
    ]
    return _names(entering), _names(leaving)


def inputs_needed(model: ir.Model, tensors: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the graph inputs that some tensors depend on, in graph order.

    Raises:
        UsageError: there is no tensor of a name.
    """
    ends = find_tensors(model, tensors)
    read = {value for node in _between(model, [], ends) for value in _reads(model.graph, node)}
    return _names(value for value in model.graph.inputs if value in read or value in ends)


def _distinct(model: ir.Model, names: Sequence[str], side: str) -> list[ir.Value]:
    chosen = find_tensors(model, names)
    twice = [value.name for i, value in enumerate(chosen) if value in chosen[:i]]
    if twice:
        raise UsageError(f"the tensor {twice[0]} is given twice among the {side}")
    return chosen


def _reads(graph: ir.Graph, node: ir.Node) -> Iterator[ir.Value]:
    """Yield the values of ``graph`` that a node reads, also from within its subgraphs."""
    yield from (value for value in node.inputs if value is not None)
    for outer in subgraphs_of(node):
        for inner in (outer, *outer.subgraphs()):
            read = (value for item in inner for value in item.inputs if value is not None)
            yield from (value for value in (*read, *inner.outputs) if value.graph is graph)


def _is_weight(value: ir.Value) -> bool:
    return value.is_initializer() and not value.is_graph_input()


def _between(model: ir.Model, starts: Sequence[ir.Value], ends: Sequence[ir.Value]) -> set[ir.Node]:
    seen = set(starts)
    nodes: set[ir.Node] = set()
    waiting = list(ends)
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        node = value.producer()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting.extend(_reads(model.graph, node))
    return nodes


def _check_connected(
    model: ir.Model, starts: Sequence[ir.Value], ends: Sequence[ir.Value], nodes: set[ir.Node]
) -> None:
    given = set(starts)
    missing: dict[ir.Value, ir.Node] = {}
    reached = set(given)
    read: set[ir.Value] = set()
    for node in model.graph:
        if node not in nodes:
            continue
        for value in _reads(model.graph, node):
            read.add(value)
            if value.is_graph_input() and value not in given:
                missing.setdefault(value, node)
            if value in reached:
                reached.update(item for item in node.outputs if item not in given)
    lonely = [value.name for value in ends if starts and value not in reached]
    if lonely:
        names = ", ".join(value.name or "" for value in starts)
        raise UsageError(f"the output {lonely[0]} does not depend on the given inputs ({names})")
    if missing:
        value, node = next(iter(missing.items()))
        raise UsageError(
            f"the inputs do not cover the part: {label(node)} reads {value.name}, an input of the model; "
            f"add {', '.join(item.name or '' for item in missing)} to the inputs, or a tensor in between"
        )
    unread = [value.name for value in starts if value not in read]
    if unread:
        raise UsageError(f"no node before the outputs reads the input {unread[0]}; leave it out")


def _types_of(model: ir.Model, wanted: Sequence[ir.Value]) -> Mapping[ir.Value, Inferred]:
    try:
        types = dict(infer_types(model))
        if any(value.shape is None and types[value].shape is None for value in wanted):
            types, _ = analyse_shapes(model, inputs={})  # slower: follows computed sizes, too
    except PreconditionError:  # one node contradicts its inputs: what the file says is what there is
        return {}
    for node in model.graph:
        # ONNX's inference leaves the rank open where the sizes are computed; their number tells it.
        if is_op(node, "Reshape", "ConstantOfShape") and (sizes := node.inputs[-1]) is not None:
            found, known = types[node.outputs[0]], types.get(sizes)
            if found.shape is None and known is not None and known.static:
                types[node.outputs[0]] = Inferred(dtype=found.dtype, shape=(None,) * known.static[0])
    return types


def _check_type(value: ir.Value, types: Mapping[ir.Value, Inferred]) -> None:
    found = types.get(value) or Inferred(dtype=None, shape=None)
    if value.type is None and found.dtype is None:
        unknown = "dtype"
    elif (value.dtype or found.dtype) and value.shape is None and found.shape is None:
        unknown = "number of dimensions"
    else:
        return
    raise PreconditionError(
        f"the {unknown} of {value.name} is not recorded and cannot be inferred, so it can be neither input "
        "nor output; cut at a tensor of a standard operator, or fix the shapes first: graphopt apply MODEL "
        "--passes static_shapes"
    )


def _record(new: ir.Value, old: ir.Value, types: Mapping[ir.Value, Inferred]) -> None:
    found = types.get(old)
    if found is not None and found.dtype is not None:
        new.type = ir.TensorType(found.dtype)
        if found.shape is not None and not (old.shape is not None and _is_finer(old.shape, found.shape)):
            new.shape = ir.Shape(list(found.shape))


def _is_finer(recorded: ir.Shape, found: Sequence[int | str | None]) -> bool:
    return len(recorded) == len(found) and all(
        theirs is None or mine == theirs for mine, theirs in zip(recorded, found, strict=True)
    )


def _copy(
    model: ir.Model, starts: Sequence[ir.Value], ends: Sequence[ir.Value], nodes: set[ir.Node]
) -> ir.Graph:
    graph = model.graph
    kept = [node for node in graph if node in nodes]
    weights = {value for node in kept for value in _reads(graph, node) if _is_weight(value)}
    weights |= {value for value in ends if _is_weight(value)}
    view = ir.GraphView(
        starts,
        ends,
        nodes=kept,
        initializers=[v for v in graph.initializers.values() if v in weights - set(starts)],
        doc_string=graph.doc_string,
        opset_imports=dict(graph.opset_imports),
        name=graph.name,
        metadata_props=dict(graph.metadata_props),
    )
    part = view.clone()
    entering = {value.name: value for value in part.inputs}
    for value in part.inputs:
        value.const_value = None  # a weight that is fed from now on
    for node in part:
        for value in node.outputs:
            if value.name in entering:  # one output of several is given, the others are needed
                value.replace_all_uses_with(entering[value.name], replace_graph_outputs=True)
                value.name = ""
    return part


def _functions_used(model: ir.Model, graph: ir.Graph) -> list[ir.Function]:
    used: dict[ir.OperatorIdentifier, ir.Function] = {}
    waiting: list[ir.Node] = list(graph.all_nodes())
    while waiting:
        key = waiting.pop().op_identifier()
        if key in model.functions and key not in used:
            used[key] = model.functions[key]
            waiting.extend(used[key].graph.all_nodes())
    return [function for key, function in model.functions.items() if key in used]


def _in_main_graph(model: ir.Model, node: ir.Node, carrier: Mapping[ir.Graph, ir.Node]) -> ir.Node:
    if node.graph is model.graph:
        return node
    for root in root_graphs(model):
        if any(node.graph is graph for graph in (root, *root.subgraphs())):
            if root is model.graph:
                return carrier[node.graph]  # type: ignore[index]  # not a function: it is in the main graph
            raise PreconditionError(f"{label(node)} is in the body of a function; name a node that calls it")
    raise PreconditionError(f"{label(node)} is in no graph of the model")


def _neighbours(graph: ir.Graph, node: ir.Node, carrier: Mapping[ir.Graph, ir.Node]) -> Iterator[ir.Node]:
    for value in _reads(graph, node):
        if (producer := value.producer()) is not None:
            yield producer
    for value in node.outputs:
        yield from _users(value, carrier)


def _users(value: ir.Value, carrier: Mapping[ir.Graph, ir.Node]) -> Iterator[ir.Node]:
    """Yield the nodes of the main graph that read a value of it, themselves or in a subgraph."""
    for user, _ in value.uses():
        if user.graph is not None:
            yield carrier.get(user.graph, user)


def _size_nodes(graph: ir.Graph, value: ir.Value) -> set[ir.Node]:
    """Return the nodes that make a value from constants and sizes of tensors; none for another value."""
    found: set[ir.Node] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        node = item.producer()
        if node is None and not _is_weight(item):
            return set()
        if node is None or node in found:
            continue
        found.add(node)
        if len(found) > _MAX_SIZE_NODES:
            return set()
        if not is_op(node, "Shape", "Size"):
            waiting.extend(_reads(graph, node))
    return found


def _names(values: Iterable[ir.Value]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.name or "" for value in values))
