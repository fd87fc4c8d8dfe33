"""Find groups of connected nodes that can get one more axis together."""

from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import graphs_of
from graphopt.surgery.lifting.lifted_node import Types, data_inputs, why_not_lifted


@dataclass(frozen=True, kw_only=True)
class Region:
    """Connected nodes of one graph, in order, and which of their inputs get one more axis."""

    nodes: tuple[ir.Node, ...]
    data: tuple[tuple[int, ...], ...]


def regions_of(model: ir.Model, types: Types, axis: int) -> tuple[list[Region], dict[ir.Node, str]]:
    """Return the groups, and of the nodes that look right but cannot be lifted why not.

    Args:
        model: is not changed.
        types: of all its values.
        axis: the new one.
    """
    regions: list[Region] = []
    refused: dict[ir.Node, str] = {}
    for graph in graphs_of(model):
        members: dict[ir.Node, None] = {}
        for node in graph:
            reason = why_not_lifted(model, node, types, axis)
            if reason is None:
                members[node] = None
            elif reason:
                refused[node] = reason
        regions.extend(_connected(members, types))
    return regions, refused


def _connected(members: dict[ir.Node, None], types: Types) -> list[Region]:
    group: dict[ir.Node, ir.Node] = {node: node for node in members}

    def root(node: ir.Node) -> ir.Node:
        while group[node] is not node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    for node in members:
        for index in data_inputs(node, types):
            value = node.inputs[index]
            producer = None if value is None else value.producer()
            if producer in group and producer is not None:
                group[root(node)] = root(producer)
    found: dict[ir.Node, list[ir.Node]] = {}
    for node in members:
        found.setdefault(root(node), []).append(node)
    return [
        Region(nodes=tuple(nodes), data=tuple(data_inputs(node, types) for node in nodes))
        for nodes in found.values()
    ]
