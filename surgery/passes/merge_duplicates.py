"""The pass ``merge_duplicates``."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import onnx
import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    ONNX_DOMAIN,
    graph_of,
    has_subgraph,
    label,
    root_graphs,
    subgraphs_of,
)
from graphopt.surgery.shapes.shape_inference import SMALL_BYTES
from graphopt.surgery.values.tensor_content import equal_tensors, tensor_key

_RANDOM = frozenset(
    ("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform")
) | {"RandomUniformLike"}
"""Two such nodes may make different numbers from the same inputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Twin(Site):
    """A node that makes what ``kept`` makes, which comes ``later`` when its outputs keep their names."""

    kept: ir.Node
    later: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class _EqualConstant(Site):
    """A reader of an initializer that holds the same as ``kept``."""

    value: ir.Value
    kept: ir.Value


@dataclass(frozen=True, kw_only=True)
class MergeDuplicates(GraphPass):
    """Compute and store only once what nodes and initializers have in common.

    Why: a traced program asks for the same size, mask or anchor again and again, and exporters write
    each answer anew; each is a kernel launch and memory on a device.
    Before: ``x -> Shape -> Gather(0)`` twice, weights ``w`` and ``w_copy`` with the same bytes.
    After: one ``Shape -> Gather(0)`` and one ``w`` with both readers.
    Seen in: box_decoder, fcos, skip_decoder, vit_block.
    Known as: big-constant cleanup (43), duplicate Concat of single-output-split (27).
    """

    name: ClassVar[str] = "merge_duplicates"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every node and initializer that has an equal one in reach; see ``GraphPass.sites``."""
        numbering = _Numbering()
        yield from _equal_initializers(model, numbering)
        for root in root_graphs(model):
            yield from numbering.walk(root)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers of the duplicate read the one that is kept."""
        if isinstance(site, _EqualConstant):
            site.value.replace_all_uses_with(site.kept)
            remove_unread(model, [site.value])
        elif isinstance(site, _Twin):
            if site.later:  # its inputs are the same, so it can move up to the first reader
                graph = graph_of(site.node)
                graph.remove(site.kept)
                graph.insert_before(site.node, site.kept)
            for mine, other in zip(site.node.outputs, site.kept.outputs, strict=True):
                mine.replace_all_uses_with(other)
            remove_dead(model, [site.node])


def _equal_initializers(model: ir.Model, numbering: "_Numbering") -> Iterator[Site]:
    graphs = [graph for root in root_graphs(model) for graph in (root, *root.subgraphs())]
    values = [
        value for graph in graphs for value in graph.initializers.values() if not value.is_graph_input()
    ]
    for group in equal_tensors(values):
        first: dict[ir.Graph | None, ir.Value] = {}
        for value in group:
            first.setdefault(value.graph, value)
        for value in group:
            # An initializer of a branch is seen there only: the one that stays is the main graph's. But
            # ONNX's inference looks into no outer graph for sizes, and takes an empty one for something else.
            outer = first.get(model.graph, first[value.graph])
            small = value.const_value is not None and value.const_value.nbytes <= SMALL_BYTES
            kept = first[value.graph] if small else outer
            user = next((reader for reader, _ in value.uses()), None)
            if value is not outer:
                numbering.same[value] = outer
            if value is kept or value.is_graph_output() or user is None:
                continue
            what = f"{value.name} holds the same as {kept.name}"
            yield _EqualConstant(node=user, what=what, value=value, kept=kept)


@dataclass
class _Numbering:
    """Gives equal keys to nodes that make equal values; linear in nodes and inputs.

    Attributes:
        same: value -> the equal one that stands for it.
        known: key -> the node that stands for all with that key, where it is visible.
    """

    same: dict[ir.Value, ir.Value] = field(default_factory=dict)
    known: dict[Hashable, ir.Node] = field(default_factory=dict)

    def walk(self, graph: ir.Graph) -> Iterator[Site | Declined]:
        """Look at a graph and what is nested in it, in order."""
        added: list[Hashable] = []
        for node in graph:
            for inner in subgraphs_of(node):
                yield from self.walk(inner)
            key = self._key(node)
            if key is None:
                continue
            kept = self.known.get(key)
            if kept is None:
                self.known[key] = node
                added.append(key)
                continue
            place = self._place(node, kept)
            if isinstance(place, _Twin) and place.later:
                self.known[key] = node
            yield place
            for mine, other in zip(node.outputs, kept.outputs, strict=True):
                self.same[mine] = self.same.get(other, other)
        for key in added:  # what was found in a branch is not visible after it
            del self.known[key]

    def _place(self, node: ir.Node, kept: ir.Node) -> Site | Declined:
        if not any(value.is_graph_output() for value in node.outputs):
            return _Twin(node=node, what=f"it makes the same as {label(kept)}", kept=kept)
        name = next(value.name for value in node.outputs if value.is_graph_output())
        if node.graph is not kept.graph:
            return Declined(node=node, why=f"{name} is an output of its subgraph")
        if any(value.is_graph_output() for value in kept.outputs):
            return Declined(node=node, why=f"{name} and what {label(kept)} makes are both graph outputs")
        return _Twin(node=kept, what=f"it makes the same as {label(node)}", kept=node, later=True)

    def _key(self, node: ir.Node) -> Hashable | None:
        if node.domain != ONNX_DOMAIN or node.op_type in _RANDOM or has_subgraph(node):
            return None
        if not onnx.defs.has(node.op_type):
            return None
        inputs = tuple([self.same.get(value, value) if value is not None else None for value in node.inputs])
        outputs = tuple([bool(value.name) for value in node.outputs])
        attributes = tuple([_attribute(node.attributes[name]) for name in sorted(node.attributes)])
        return node.op_type, inputs, outputs, attributes


def _attribute(attribute: ir.Attr) -> Hashable:
    if attribute.is_ref():
        return attribute.name, attribute.ref_attr_name
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.name, tensor_key(attribute.value)
    return attribute.name, attribute.type, repr(attribute.value)
