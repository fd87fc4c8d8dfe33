"""The pass ``set_reduce_axes``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    has_attribute_references,
    input_of,
    ints_of,
    nodes_of,
    opset_of,
)
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _All(Site):
    """A reduction over all of ``rank`` axes."""

    rank: int


@dataclass(frozen=True, kw_only=True)
class SetReduceAxes(GraphPass):
    """Write the axes of a reduction that runs over all of them.

    Why: ATC's documents say that a reduction without axes is not read as one over all axes.
    Before: ``boxes[N,4] -> ReduceMax(keepdims=0)``, as ``boxes.max()`` is exported.
    After: ``boxes -> ReduceMax(axes=[0,1], keepdims=0)``.
    Seen in: fcos, nas_fpn, faster_rcnn_dcn.
    """

    name: ClassVar[str] = "set_reduce_axes"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every reduction without axes; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, *_REDUCTIONS):
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
                continue
            axes = _written(node, opset_of(model, node))
            if axes or (axes is not None and attribute_int(node, "noop_with_empty_axes", 0)):
                continue  # written, or it reduces nothing
            if axes is None:
                yield Declined(node=node, why="its axes are computed at run time")
                continue
            rank = types.rank(node.inputs[0])
            if not rank:
                yield Declined(node=node, why="the rank is unknown" if rank is None else "it has no axes")
            else:
                yield _All(node=node, what=f"over all {rank} axes", rank=rank)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put a reduction with its axes in the place of the node."""
        data = site.node.inputs[0]
        if not isinstance(site, _All) or data is None:
            return
        new = VersionedBuilder(model, site.node)
        keep = bool(attribute_int(site.node, "keepdims", 1))
        new.replace(new.reduce(site.node.op_type, data, range(site.rank), keepdims=keep))


def _written(node: ir.Node, opset: int) -> list[int] | None:
    """Return the axes, empty when there are none; None when they are computed."""
    if opset < (13 if node.op_type == "ReduceSum" else 18):
        listed = node.attributes.get("axes")
        return list(listed.as_ints()) if listed is not None else []
    given = input_of(node, 1)
    return [] if given is None else ints_of(given)
