"""Find the tensor or node that a user names, or say which one was probably meant."""

import difflib
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from graphopt.core.errors import UsageError
from graphopt.surgery.graph_queries import label, subgraphs_of


def find_tensors(model: ir.Model, names: Iterable[str]) -> list[ir.Value]:
    """Return the tensors of the main graph that a user calls ``TENSOR`` or ``NODE:INDEX``.

    Raises:
        UsageError: there is none of a name; the message offers the nearest ones.
    """
    tensors = tensors_by_name(model.graph)
    return [tensors[name] if name in tensors else _by_node(model, name) for name in names]


def find_node(model: ir.Model, name: str) -> ir.Node:
    """Return the node that a user calls ``name``: its name, that of one of its outputs, ``NODE:INDEX``.

    Nodes of the main graph come first, then those of subgraphs.

    Raises:
        UsageError: there is none; the message offers the nearest names.
    """
    inner = (node for node in model.graph.all_nodes() if node.graph is not model.graph)
    nodes: list[ir.Node] = [*model.graph, *inner]
    for node in nodes:
        if name and node.name == name:
            return node
    for node in nodes:
        if name and any(value.name == name for value in node.outputs):
            return node
    before, _, index = name.rpartition(":")
    if before and index.isdecimal() and any(node.name == before for node in nodes):
        return find_node(model, before)
    known = [text for node in nodes for text in (node.name, *(v.name for v in node.outputs)) if text]
    raise UsageError(f"there is no node {name!r}; {_nearest(name, known)}")


def tensors_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return inputs, initializers and node outputs of one graph, without subgraphs."""
    made = (value for node in graph for value in node.outputs)
    return {value.name: value for value in (*graph.inputs, *made, *graph.initializers.values()) if value.name}


def carriers(graph: ir.Graph) -> dict[ir.Graph, ir.Node]:
    """Return, for each graph nested in ``graph`` at any depth, the node of ``graph`` that carries it."""
    found: dict[ir.Graph, ir.Node] = {}
    for node in graph:
        for inner in subgraphs_of(node):
            found.update(dict.fromkeys((inner, *inner.subgraphs()), node))
    return found


def _by_node(model: ir.Model, name: str) -> ir.Value:
    node_name, _, index = name.rpartition(":")
    if node_name and index.isdecimal():
        node = next((node for node in model.graph if node.name == node_name), None)
        if node is not None and int(index) < len(node.outputs):
            return node.outputs[int(index)]
        if node is not None:
            raise UsageError(f"{label(node)} has {len(node.outputs)} outputs, counted from 0: no {name}")
    for inner, carrier in carriers(model.graph).items():
        if name in tensors_by_name(inner):
            raise UsageError(f"the tensor {name!r} is in the subgraph of {label(carrier)}; name one outside")
    by_node = [f"{node.name}:{i}" for node in model.graph if node.name for i in range(len(node.outputs))]
    raise UsageError(
        f"there is no tensor {name!r}; {_nearest(name, [*tensors_by_name(model.graph), *by_node])}"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"among the {len(known)} names are {', '.join(known[:5])}"
