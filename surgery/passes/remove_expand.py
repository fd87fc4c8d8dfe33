"""The pass ``remove_expand``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, remove_dead, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_tensor,
    input_of,
    ints_of,
    is_op,
    label,
    nodes_of,
    opset_of,
)
from graphopt.surgery.shapes.broadcasting import broadcast_shape, same_shape, shape_in
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_BROADCASTING = (
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
"""All inputs broadcast, as numpy's do, since opset 8 at the latest."""
_FIRST_THAT_BROADCASTS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class _Expansion(Site):
    """A node that only repeats; its readers repeat by themselves unless it does ``nothing`` at all."""

    nothing: bool


@dataclass(frozen=True, kw_only=True)
class RemoveExpand(GraphPass):
    """Remove ``Expand`` and ``Tile`` where the readers broadcast anyway.

    Why: an Expand writes the same numbers again and again and wants a constant shape; the operators
    that read it can repeat them for nothing.
    Before: ``mask[2,1,1,7] -> Expand([2,3,7,7]) -> Add(., scores[2,3,7,7])``.
    After: ``mask -> Add(., scores)``; those that repeat nothing go too.
    Seen in: masked_attention, nas_fpn.
    Known as: expand-fold (23), expand trick (S3).
    """

    name: ClassVar[str] = "remove_expand"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Expand, and every Tile of axes of size one; see ``GraphPass.sites``."""
        nodes = [node for node in nodes_of(model, "Expand", "Tile") if not _is_folded(node)]
        types = infer_types(model) if nodes else {}
        removed: set[ir.Value] = set()
        for node in nodes:
            before, after = shape_in(types, input_of(node, 0)), shape_in(types, node.outputs[0])
            if same_shape(before, after):
                reason = why_not_bypassed(node)
                nothing = _Expansion(node=node, what="it repeats nothing", nothing=True)
                yield Declined(node=node, why=reason) if reason else nothing
                continue
            reason = _why_not(model, node, types)
            readers = {reader for reader, _ in node.outputs[0].uses()}
            if reason is None and any(value in removed for reader in readers for value in reader.inputs):
                continue  # two operands of one node give way in turn: the next sweep looks again
            if reason is not None:
                yield Declined(node=node, why=reason)
                continue
            removed.add(node.outputs[0])
            names = ", ".join(dict.fromkeys(label(reader) for reader in readers))
            yield _Expansion(node=node, what=f"{names} broadcasts by itself", nothing=False)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read what would have been repeated."""
        source = input_of(site.node, 0)
        if not isinstance(site, _Expansion) or source is None:
            return
        if not site.nothing:
            site.node.outputs[0].replace_all_uses_with(source)
            remove_dead(model, [site.node])
        elif why_not_bypassed(site.node) is None:
            bypass(model, site.node)


def _is_folded(node: ir.Node) -> bool:
    return constant_tensor(input_of(node, 0)) is not None and constant_tensor(input_of(node, 1)) is not None


def _why_not(model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> str | None:
    output = node.outputs[0]
    if opset_of(model, node) < _FIRST_THAT_BROADCASTS:
        return "operators of this opset broadcast by other rules"
    if output.is_graph_output():
        return f"{output.name} is a graph output"
    if is_op(node, "Tile"):
        repeats, before = ints_of(input_of(node, 1)), shape_in(types, input_of(node, 0))
        if repeats is None or before is None:
            return "how often it repeats what is unknown"
        if any(count != 1 and size != 1 for count, size in zip(repeats, before, strict=True)):
            return "it repeats more than single elements"
    for reader, _ in output.uses():
        if not is_op(reader, *_BROADCASTING):
            return f"{label(reader)} does not broadcast"
        shapes = [shape_in(types, input_of(node, 0) if value is output else value) for value in reader.inputs]
        if not same_shape(broadcast_shape(shapes), shape_in(types, reader.outputs[0])):
            return f"{label(reader)} has no other input of the full shape"
    return None
