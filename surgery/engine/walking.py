"""Visit all graphs of a model, functions included; each node is looked at once."""

from collections.abc import Iterator

import onnx_ir as ir


def all_graphs(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """Yield the main graph, its subgraphs, the functions, and their subgraphs."""
    yield from main_graphs(model)
    for function in model.functions.values():
        yield from with_subgraphs(function)


def main_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Yield the main graph and its subgraphs."""
    for graph in with_subgraphs(model.graph):
        if isinstance(graph, ir.Graph):
            yield graph


def with_subgraphs(graph: ir.Graph | ir.Function) -> Iterator[ir.Graph | ir.Function]:
    """Yield a graph and all that is nested in it, outer ones first."""
    yield graph
    for node in graph:
        if node.attributes:
            for inner in subgraphs_of(node):
                yield from with_subgraphs(inner)


def subgraphs_of(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs among a node's attributes."""
    found: list[ir.Graph] = []
    for attr in node.attributes.values():
        if attr.type == ir.AttributeType.GRAPH:
            found.append(attr.as_graph())
        elif attr.type == ir.AttributeType.GRAPHS:
            found.extend(attr.as_graphs())
    return found
