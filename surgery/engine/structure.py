"""Check after every pass, in process and in linear time, that the graph still hangs together."""

from collections.abc import Iterator

import onnx_ir as ir

from graphopt.surgery.engine.walking import main_graphs, subgraphs_of


def faults(model: ir.Model) -> tuple[str, ...]:
    """Return the structural faults of a model as sentences; empty when it is sound.

    Looked for: inputs that nothing produces, outputs without a producer, names used twice, nodes
    before their producers, cycles.
    """
    return tuple(_faults(model))


def sort_if_needed(model: ir.Model) -> None:
    """Bring nodes into topological order where a pass left them otherwise; nothing else moves.

    Raises:
        ValueError: the graph has a cycle.
    """
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        if not _is_sorted(graph, set()):
            graph.sort()


def drop_unused_initializers(model: ir.Model) -> None:
    """Remove initializers that no node reads and that are no output."""
    for graph in main_graphs(model):
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del graph.initializers[name]


def _faults(model: ir.Model) -> Iterator[str]:
    yield from _scope_faults(model.graph, set(), set())
    for function in model.functions.values():
        yield from _scope_faults(function, set(), set())
    node_names: set[str] = set()
    for graph in main_graphs(model):
        for node in graph:
            if node.name and node.name in node_names:
                yield f"two nodes are named {node.name}"
            node_names.add(node.name or "")


def _scope_faults(graph: ir.Graph | ir.Function, visible: set[ir.Value], names: set[str]) -> Iterator[str]:
    # One set for all scopes: what a subgraph adds is taken out again when it ends.
    added: list[ir.Value] = [*graph.inputs]
    if isinstance(graph, ir.Graph):
        added += graph.initializers.values()
    for value in dict.fromkeys(added):
        yield from _name_faults(value, names)
    visible.update(added)
    for node in graph:
        for read in node.inputs:
            if read is not None and read not in visible:
                yield f"node {_label(node)} reads {read.name}, which {_why_absent(read)}"
        for inner in subgraphs_of(node):
            yield from _scope_faults(inner, visible, names)
        for value in node.outputs:
            if value.name != "" or value.uses():
                yield from _name_faults(value, names)
        added += node.outputs
        visible.update(node.outputs)
    for value in graph.outputs:
        if value not in visible:
            yield f"output {value.name} is no longer produced"
    visible.difference_update(added)


def _name_faults(value: ir.Value, names: set[str]) -> Iterator[str]:
    if not value.name:
        yield "a value has no name"
    elif value.name in names:
        yield f"two values are named {value.name}"
    else:
        names.add(value.name)


def _why_absent(value: ir.Value) -> str:
    producer = value.producer()
    if producer is None:
        return "is neither an input nor an initializer of its graph"
    if producer.graph is None:
        return f"came from {_label(producer)}, a node that was removed"
    return f"comes from {_label(producer)}, a node of another graph or of a cycle"


def _is_sorted(graph: ir.Graph | ir.Function, seen: set[ir.Node]) -> bool:
    for node in graph:
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if producer is not None and producer.graph is not None and producer not in seen:
                return False
        if not all(_is_sorted(inner, seen) for inner in subgraphs_of(node)):
            return False
        seen.add(node)
    return True


def _label(node: ir.Node) -> str:
    return f"{node.name or '(unnamed)'} ({node.op_type})"
