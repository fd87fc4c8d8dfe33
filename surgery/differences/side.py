"""One side of a comparison: a graph with its subgraphs, laid flat."""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import TypeAlias

import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_tensor

Slot: TypeAlias = tuple[str, ir.Value | None]
"""What a node reads, and where: ``input 1``, or ``then_branch output 0``."""


class Side:
    """The nodes of a graph and of its subgraphs, in order, and who reads what.

    Args:
        graph: of a model or a function.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes: list[ir.Node] = list(graph.all_nodes())
        self.slots: dict[ir.Node, list[Slot]] = {node: list(_slots(node)) for node in self.nodes}
        self.users: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
        for node, slots in self.slots.items():
            for index, (_, value) in enumerate(slots):
                if value is not None:
                    self.users.setdefault(value, []).append((node, index))

    @cached_property
    def makers(self) -> dict[str, ir.Node]:
        """Name of a value -> the node that makes it, where only one has this name."""
        made = [(value.name, node) for node in self.nodes for value in node.outputs if value.name]
        counts = Counter(name for name, _ in made)
        return {name: node for name, node in made if counts[name] == 1}

    @cached_property
    def by_name(self) -> dict[str, ir.Node]:
        """Node by its name, and by the names of its outputs."""
        return self.makers | {node.name: node for node in self.nodes if node.name}

    @cached_property
    def weights(self) -> dict[str, ir.Value]:
        """Initializers of the graph and its subgraphs, by name."""
        return {
            name: value
            for graph in (self.graph, *self.graph.subgraphs())
            for name, value in graph.initializers.items()
        }

    def readers(self, node: ir.Node) -> Iterator[ir.Node]:
        """Yield the nodes that read what a node makes."""
        for value in node.outputs:
            yield from (user for user, _ in self.users.get(value, ()))

    def sources(self, node: ir.Node) -> Iterator[ir.Node]:
        """Yield the nodes that make what a node reads."""
        for _, value in self.slots[node]:
            if value is not None and (maker := value.producer()) is not None:
                yield maker


def operator(node: ir.Node) -> str:
    """Return ``Conv``, or ``domain::Name`` outside the standard domain."""
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    return f"{name}:{node.overload}" if node.overload else name


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is known without running the model."""
    return constant_tensor(value) is not None


def graph_attributes(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """Yield the graphs that a node carries, by name."""
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from ((f"{name}[{i}]", graph) for i, graph in enumerate(attribute.as_graphs()))


def _slots(node: ir.Node) -> Iterator[Slot]:
    for index, value in enumerate(node.inputs):
        yield f"input {index}", value
    for name, graph in graph_attributes(node):
        for index, value in enumerate(graph.outputs):
            yield f"{name} output {index}", value
