"""The pass ``int64_to_int32``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, input_of, is_op
from graphopt.surgery.narrowing import Narrowing, Region, narrow_inputs, narrowed, takes_int32
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_inference import infer_types

_INT32, _INT64 = ir.DataType.INT32, ir.DataType.INT64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Narrow(Site):
    """Nodes that can work in int32 together; ``node`` is the first of them."""

    region: Region


@dataclass(frozen=True, kw_only=True)
class Int64ToInt32(GraphPass):
    """Compute indices and labels in int32 where they provably fit.

    Why: exporters write int64 everywhere; many devices have no int64 arithmetic on their fast cores and
    run it on the host, or refuse it.
    Before: ``TopK -> indices int64 -> Mod(3)``, ``-> Div(3) -> Gather``; ``Cast(bool -> int64) -> Add``.
    After: ``indices -> Cast(int32) -> Mod, Div, Gather``, casts back to int64 only where somebody needs
    it: graph outputs keep their dtype (``cast_outputs`` changes that), shapes stay int64.
    Seen in: label_head.
    Known as: int64-to-int32 (2), KnowledgeTypeCast.
    """

    name: ClassVar[str] = "int64_to_int32"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield connected int64 arithmetic whose bounds are known; see ``GraphPass.sites``."""
        narrowing = Narrowing(model, infer_types(model))
        for region in narrowing.regions():
            first = region.nodes[0]
            if region.why_not:
                yield Declined(node=first, why=region.why_not)
                continue
            casts = len(region.entries) + len(region.exits)
            what = f"{len(region.nodes)} nodes work in int32, between {casts} casts"
            yield _Narrow(node=first, what=what, region=region)
        for node, reason in narrowing.refused.items():
            yield Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the nodes anew in int32, and Casts where int64 comes in or is wanted."""
        if not isinstance(site, _Narrow):
            return
        new: dict[ir.Value, ir.Value] = {}
        for node in site.region.nodes:
            self._write(model, node, site.region, new)
        for node in site.region.nodes:
            builder = NodeBuilder(model, node)
            for old in node.outputs:
                if old not in new:
                    continue
                for user, index in tuple(old.uses()):
                    if takes_int32(user, index):
                        user.replace_input_with(index, new[old])
                if old in site.region.exits:
                    back = builder.op("Cast", new[old], attributes={"to": _INT64.value})
                    back.type = ir.TensorType(_INT64)
                    take_over(back, old)
        remove_dead(model, reversed(site.region.nodes))

    def _write(self, model: ir.Model, node: ir.Node, region: Region, new: dict[ir.Value, ir.Value]) -> None:
        builder = NodeBuilder(model, node)
        inputs = list(node.inputs)
        for index in narrow_inputs(node):
            value = inputs[index]
            if value is not None:
                inputs[index] = self._entry(builder, value, new)
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        if is_op(node, "Cast"):
            source = input_of(node, 0)
            if source is not None and source in region.ready:
                new[node.outputs[0]] = source
                return
            attributes["to"] = _INT32.value
        made = builder.ops(node.op_type, *inputs, attributes=attributes, outputs=len(node.outputs))
        for old, value in zip(node.outputs, made, strict=True):
            if old in region.wide:
                value.type = ir.TensorType(_INT32)
                new[old] = value
            else:  # a comparison
                take_over(value, old)

    def _entry(self, builder: NodeBuilder, value: ir.Value, new: dict[ir.Value, ir.Value]) -> ir.Value:
        if value not in new:
            tensor = constant_tensor(value)
            if tensor is not None:
                return builder.constant(narrowed(tensor), "int32")
            made = builder.op("Cast", value, attributes={"to": _INT32.value})
            made.type = ir.TensorType(_INT32)
            new[value] = made
        return new[value]
