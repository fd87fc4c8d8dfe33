"""Lineage of nodes: what a pass made is found by comparing before and after, not declared by it.

A new node stands for the old nodes that lie between its outputs and the values that are still
there. So a pass need not know about lineage at all, only keep the names of values that survive.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import onnx_ir as ir

from graphopt.core.lineage import inherited_origins, node_label, stamp_node
from graphopt.surgery.engine.walking import all_graphs, with_subgraphs

_Name = tuple[int, str]
"""A value: number of its scope (0 the main graph and its subgraphs, then the functions), name."""
_Key = tuple[int, str, str, tuple[str, ...]]
"""A node that is the same in a rebuilt model: scope, domain and operator, name, outputs."""
_NONE: dict[str, str] = {}
"""Shared by the many nodes without metadata; never written to."""


class _Old(NamedTuple):
    order: int
    key: _Key
    inputs: tuple[str, ...]
    metadata: dict[str, str]

    @property
    def origins(self) -> tuple[str, ...]:
        _, _, name, outputs = self.key
        return inherited_origins(self.metadata) or (name or next(filter(None, outputs), ""),)


@dataclass(frozen=True)
class Snapshot:
    """The nodes of a model before a pass; holds no weights."""

    nodes: dict[ir.Node, _Old] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @cached_property
    def keys(self) -> dict[_Key, _Old]:
        """The nodes by what they are in a rebuilt model."""
        return {old.key: old for old in self.nodes.values()}

    @cached_property
    def producers(self) -> dict[_Name, _Old]:
        """The nodes by what they made."""
        return {(old.key[0], name): old for old in self.nodes.values() for name in old.key[3] if name}


def take_snapshot(model: ir.Model) -> Snapshot:
    """Remember the nodes of a model; linear in their number."""
    snapshot = Snapshot(
        outputs=tuple(value.name or "" for value in model.graph.outputs),
        metadata=dict(model.metadata_props),
    )
    for scope, node in _scoped_nodes(model):
        inputs = tuple([value.name or "" if value is not None else "" for value in node.inputs])
        metadata = dict(node.metadata_props) if node.metadata_props else _NONE
        snapshot.nodes[node] = _Old(len(snapshot.nodes), _key(scope, node), inputs, metadata)
    return snapshot


def stamp_new_nodes(before: Snapshot, model: ir.Model, pass_name: str) -> None:
    """Write pass and origin on every node that was not there before; in place or rebuilt."""
    new = [(scope, node) for scope, node in _scoped_nodes(model) if node not in before.nodes]
    fresh = [(scope, node) for scope, node in new if not _carry_over(before, scope, node)]
    here = _names_now(model) if fresh else set()
    found: dict[ir.Node, dict[str, int]] = {}
    # Backwards: a node with fresh output names stands for what its consumers stand for.
    for scope, node in reversed(fresh):
        origins: dict[str, int] = {}
        for name in _old_names(before, node, found, origins):
            _walk_up(before, here, (scope, name), origins)
        found[node] = origins
    for _, node in fresh:
        origins = found[node] or _neighbours(before, node, found)
        found[node] = origins
        stamp_node(node, pass_name, sorted(origins, key=origins.__getitem__) or [node_label(node)])
    for key, text in before.metadata.items():
        model.metadata_props.setdefault(key, text)


def _scoped_nodes(model: ir.Model) -> Iterator[tuple[int, ir.Node]]:
    roots: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for scope, root in enumerate(roots):
        for graph in with_subgraphs(root):
            for node in graph:
                yield scope, node


def _names_now(model: ir.Model) -> set[_Name]:
    names = {(scope, value.name or "") for scope, node in _scoped_nodes(model) for value in node.outputs}
    for graph in all_graphs(model):
        # Inputs and initializers end a walk whatever their scope: they have no producer.
        names.update((0, value.name or "") for value in graph.inputs)
        if isinstance(graph, ir.Graph):
            names.update((0, name) for name in graph.initializers)
    return names


def _key(scope: int, node: ir.Node) -> _Key:
    outputs = tuple([value.name or "" for value in node.outputs])
    operator = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    return scope, operator, node.name or "", outputs


def _carry_over(before: Snapshot, scope: int, node: ir.Node) -> bool:
    """Give a node of a rebuilt model the metadata of its old self; whether it has one."""
    old = before.keys.get(_key(scope, node))
    if old is None:
        return False
    for key, text in old.metadata.items():
        node.metadata_props.setdefault(key, text)
    return True


def _old_names(
    before: Snapshot, node: ir.Node, found: dict[ir.Node, dict[str, int]], origins: dict[str, int]
) -> Iterator[str]:
    """Yield the old names of a new node's outputs; add what new consumers stand for to ``origins``."""
    for value in node.outputs:
        yield value.name or ""
        if value.is_graph_output() and len(before.outputs) == len(_main_outputs(value)):
            yield from (
                old for old, now in zip(before.outputs, _main_outputs(value), strict=True) if now is value
            )
        for consumer, index in value.uses():
            old = before.nodes.get(consumer)
            if old is not None and index < len(old.inputs):
                yield old.inputs[index]
            else:
                for name, order in found.get(consumer, {}).items():
                    origins.setdefault(name, order)


def _main_outputs(value: ir.Value) -> tuple[ir.Value, ...]:
    graph = value.graph
    return tuple(graph.outputs) if graph is not None else ()


def _walk_up(before: Snapshot, here: set[_Name], start: _Name, origins: dict[str, int]) -> None:
    """Collect what stood between ``start`` and the values that are still there."""
    scope = start[0]
    waiting, seen = [start], {start}
    while waiting:
        old = before.producers.get(waiting.pop())
        if old is None:
            continue
        for origin in old.origins:
            origins.setdefault(origin, old.order)
        for name in old.inputs:
            upper = (scope, name)
            if upper not in seen and upper not in here:
                seen.add(upper)
                waiting.append(upper)


def _neighbours(before: Snapshot, node: ir.Node, found: dict[ir.Node, dict[str, int]]) -> dict[str, int]:
    """Return what an inserted node belongs to: its producers, else its consumers."""
    near = [value.producer() for value in node.inputs if value is not None]
    for group in (near, [consumer for value in node.outputs for consumer, _ in value.uses()]):
        for other in group:
            if other is None:
                continue
            if other in before.nodes:
                old = before.nodes[other]
                return dict.fromkeys(old.origins, old.order)
            if found.get(other):
                return found[other]
    return {}
