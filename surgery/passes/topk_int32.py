"""The pass ``topk_int32``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import fresh_name
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import graph_of, is_op, nodes_of
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.values.integer_ranges import IntegerRanges
from graphopt.surgery.values.narrowing import LIMITS, Narrowing, Region, narrow, takes_int32


@dataclass(frozen=True, kw_only=True, eq=False)
class _Indices(Site):
    """A TopK, and the nodes that only pass its indices on to readers that take int32."""

    regions: tuple[Region, ...]


@dataclass(frozen=True, kw_only=True)
class TopkInt32(GraphPass):
    """Convert the indices of ``TopK`` to int32 where they are made.

    Why: devices make them as int32 and widen them for ONNX; gathers work on int32 as well.
    Before: ``TopK -> indices int64 -> Unsqueeze -> GatherElements``.
    After: ``TopK -> Cast(int32) -> Unsqueeze -> GatherElements``; readers that want int64, and graph
    outputs, keep it. K stays int64: int32 there is the device's own dialect, not ONNX.
    Seen in: proposal_head.
    Known as: topk-fix (30).
    """

    name: ClassVar[str] = "topk_int32"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every TopK whose indices are read; see ``GraphPass.sites``."""
        nodes = [node for node in nodes_of(model, "TopK") if _readers(node)]
        types = infer_types(model) if nodes else {}
        ranges = IntegerRanges(model, types) if nodes else None
        regions = Narrowing(model, types).regions() if nodes else []
        taken: set[Region] = set()
        for node in nodes:
            indices = node.outputs[1]
            bounds = ranges.of(indices) if ranges is not None else None
            passing = [region for region in regions if indices in region.entries and not region.exits]
            if bounds is None or bounds[1] > LIMITS[1]:
                yield Declined(node=node, why=f"nothing bounds {indices.name}: the axis has an unknown size")
            elif not passing and not any(takes_int32(user, index) for user, index in _readers(node)):
                yield Declined(node=node, why=f"no reader of {indices.name} takes int32")
            elif not taken & set(passing):
                taken |= set(passing)
                what = f"{indices.name} is at most {bounds[1]}"
                yield _Indices(node=node, what=what, regions=tuple(passing))

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put a Cast behind the TopK, and let it be read where int32 will do."""
        if not isinstance(site, _Indices):
            return
        indices = site.node.outputs[1]
        cast = ir.node(
            "Cast",
            [indices],
            {"to": ir.DataType.INT32.value},
            name=fresh_name(model, f"{indices.name}.int32_node"),
        )
        narrow_indices = cast.outputs[0]
        narrow_indices.name = fresh_name(model, f"{indices.name}.int32")
        narrow_indices.type, narrow_indices.shape = ir.TensorType(ir.DataType.INT32), indices.shape
        for user, index in _readers(site.node):
            if takes_int32(user, index):
                user.replace_input_with(index, narrow_indices)
        graph_of(site.node).insert_after(site.node, cast)
        for region in site.regions:
            narrow(model, region, {indices: narrow_indices})


def _readers(node: ir.Node) -> list[tuple[ir.Node, int]]:
    """Return who reads the indices, apart from Casts to int32."""
    uses = node.outputs[1].uses() if len(node.outputs) > 1 else ()
    return [(user, index) for user, index in uses if not _is_cast_to_int32(user)]


def _is_cast_to_int32(node: ir.Node) -> bool:
    if not is_op(node, "Cast"):
        return False
    to = node.attributes.get("to")
    return to is not None and not to.is_ref() and to.as_int() == ir.DataType.INT32.value
