"""The pass ``softmax_axis_last``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import attribute_int, has_attribute_references, nodes_of, opset_of
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.known_types import KnownTypes

_FIRST_WITH_ONE_AXIS = 13
"""Before, the input was seen as a matrix: rows up to ``axis``, columns from there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _AxisSite(Site):
    """A softmax over ``axis`` of ``rank`` axes."""

    axis: int
    rank: int


@dataclass(frozen=True, kw_only=True)
class SoftmaxAxisLast(GraphPass):
    """Let every Softmax and LogSoftmax work along the last axis.

    Why: vector units reduce along the innermost axis; on another one the device strides through
    memory or falls back to a slow kernel.
    Before: ``x[1,4,100] -> Softmax(axis=1)``.
    After: ``x -> Transpose(0,2,1) -> Softmax(axis=2) -> Transpose(0,2,1)``.
    Seen in: prototype_masks.
    Known as: softmax-axis-last (12).
    """

    name: ClassVar[str] = "softmax_axis_last"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every softmax over another axis than the last; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Softmax", "LogSoftmax"):
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
                continue
            one_axis = opset_of(model, node) >= _FIRST_WITH_ONE_AXIS
            axis = attribute_int(node, "axis", -1 if one_axis else 1)
            if axis == -1:
                continue
            rank = types.rank(node.inputs[0])
            if rank is None:
                yield Declined(node=node, why="the rank of its input is not known")
                continue
            axis %= rank
            if axis == rank - 1:
                continue
            if not one_axis and not _rest_is_one(types, node, axis):
                yield Declined(node=node, why=f"in this opset it normalises over all axes from {axis} on")
                continue
            yield _AxisSite(node=node, what=f"axis {axis} of {rank} becomes the last", axis=axis, rank=rank)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Swap the axis with the last one, before and after."""
        if not isinstance(site, _AxisSite):
            return
        node, last = site.node, site.rank - 1
        swap = list(range(site.rank))
        swap[site.axis], swap[last] = last, site.axis
        new = NodeBuilder(model, node)
        turned = new.op("Transpose", node.inputs[0], attributes={"perm": swap})
        normalised = new.op(node.op_type, turned, attributes={"axis": last})
        new.replace(new.op("Transpose", normalised, attributes={"perm": swap}))


def _rest_is_one(types: KnownTypes, node: ir.Node, axis: int) -> bool:
    shape = types.of(node.inputs[0]).shape or ()
    return all(size == 1 for size in shape[axis + 1 :])
