"""Differences as plain data: for JSON, tables and pages."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from graphopt.core.lineage import NODE_ORIGIN, NODE_PASS, node_label, origins_of
from graphopt.surgery.differences.content import dtype_text
from graphopt.surgery.differences.model_diff import GraphDiff, ModelDiff
from graphopt.surgery.differences.node_changes import Pair, attribute_texts, value_text
from graphopt.surgery.differences.regions import Region
from graphopt.surgery.differences.side import operator
from graphopt.surgery.graph_queries import is_op, shape_text

DIFF_VERSION = 1
_WIDE = 3


@dataclass(frozen=True)
class Group:
    """Regions that look the same: equal operators and passes.

    Attributes:
        regions: at least one, in graph order.
    """

    regions: tuple[Region, ...]

    @property
    def first(self) -> Region:
        """The one to show."""
        return self.regions[0]

    @property
    def size(self) -> int:
        """Number of nodes removed, added and changed in all of them."""
        return sum(region.size for region in self.regions)


def grouped(graph: GraphDiff) -> tuple[Group, ...]:
    """Return the regions in groups of equal looks, in the order of their first ones."""
    groups: dict[tuple[object, ...], list[Region]] = {}
    for region in graph.regions:
        groups.setdefault(region.kind, []).append(region)
    return tuple(Group(tuple(regions)) for regions in groups.values())


def region_name(region: Region) -> str:
    """Return the name of the node that stands for a region."""
    nodes = [*(pair.before for pair in region.changed), *region.removed, *region.added]
    return node_label(next((node for node in nodes if not is_op(node, "Constant")), nodes[0]))


def node_line(node: ir.Node) -> str:
    """Return a node as ``Pad Pad_3 (x, pads) -> y``."""
    reads = [value_text(value) for value in node.inputs]
    shown = ", ".join(reads[:_WIDE]) + (f", ... {len(reads) - _WIDE} more" if len(reads) > _WIDE else "")
    makes = ", ".join(value.name or "-" for value in node.outputs)
    name = f" {node.name}" if node.name else ""
    return f"{operator(node)}{name} ({shown}) -> {makes}"


def node_facts(node: ir.Node) -> dict[str, Any]:
    """Return what there is to say about a node."""
    return {
        "name": node.name or "",
        "operator": operator(node),
        "inputs": [value_text(value) for value in node.inputs],
        "outputs": [
            {"name": value.name, "shape": shape_text(value.shape), "dtype": dtype_text(value.dtype)}
            for value in node.outputs
        ],
        "attributes": attribute_texts(node),
        "pass": node.metadata_props.get(NODE_PASS, ""),
        "origin": list(origins_of(node)) if NODE_ORIGIN in node.metadata_props else [],
    }


def diff_facts(diff: ModelDiff) -> dict[str, Any]:
    """Return all differences as plain data."""
    return {
        "diff_version": DIFF_VERSION,
        "equal": diff.equal,
        "nodes_before": len(diff.main.alignment.before.nodes),
        "nodes_after": len(diff.main.alignment.after.nodes),
        "removed": sum(len(region.removed) for graph in diff.graphs for region in graph.regions),
        "added": sum(len(region.added) for graph in diff.graphs for region in graph.regions),
        "changed": sum(len(region.changed) for graph in diff.graphs for region in graph.regions),
        "interface": list(diff.interface),
        "weights": [vars(item) for item in diff.weights],
        "stripped_weights": diff.stripped,
        "notes": list(diff.notes),
        "passes": [{"name": step.name, "options": dict(step.options)} for step in diff.steps],
        "graphs": [_graph_facts(graph) for graph in diff.graphs],
    }


def _graph_facts(graph: GraphDiff) -> dict[str, Any]:
    return {
        "name": graph.name,
        "same": graph.same,
        "operators": [dataclasses.asdict(item) for item in graph.operators],
        "regions": [_region_facts(region) for region in graph.regions],
    }


def _region_facts(region: Region) -> dict[str, Any]:
    return {
        "passes": list(region.passes),
        "removed": _with_makers(region.removed, region),
        "added": _with_makers(region.added, region),
        "changed": [_pair_facts(pair) | {"by": region.makers.get(pair.after, "")} for pair in region.changed],
        "rewired": [_pair_facts(pair) for pair in region.rewired],
    }


def _with_makers(nodes: Sequence[ir.Node], region: Region) -> list[dict[str, Any]]:
    return [node_facts(node) | {"by": region.makers.get(node, "")} for node in nodes]


def _pair_facts(pair: Pair) -> dict[str, Any]:
    return {
        "before": node_facts(pair.before),
        "after": node_facts(pair.after),
        "differences": [*pair.changes, *pair.rewired],
    }
