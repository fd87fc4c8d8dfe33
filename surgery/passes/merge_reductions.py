"""The pass ``merge_reductions``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
    label,
    nodes_of,
    opset_of,
    used_elsewhere,
)
from graphopt.surgery.shapes.broadcasting import shape_in
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

_REDUCING = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_AXES_ARE_INPUT = {"ReduceSum": 13, "Squeeze": 13, "Unsqueeze": 13}
"""Opset from which on the axes are an input; 18 for the others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Merged(Site):
    """A node that is part of the reduction ``upper`` over ``axes``."""

    upper: ir.Node
    axes: tuple[int, ...]
    keepdims: bool


@dataclass(frozen=True, kw_only=True)
class MergeReductions(GraphPass):
    """Reduce once, and with the axes that are wanted, where reductions and their axes are handled in steps.

    Why: ``x.sum(1).unsqueeze(1)`` and ``x.max(-1).max(-1)`` are two kernels each, where one reads the
    tensor once and says in ``keepdims`` what becomes of the axes.
    Before: ``x -> ReduceSum(1, keepdims=0) -> Unsqueeze(1)``, ``x -> ReduceMax(3) -> ReduceMax(2)``.
    After: ``x -> ReduceSum(1, keepdims=1)``, ``x -> ReduceMax(2, 3)``; also a Squeeze of what was
    kept, and ReduceMin, ReduceMean and ReduceProd.
    Seen in: click_predictor.
    """

    name: ClassVar[str] = "merge_reductions"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield what follows a reduction and can be part of it; see ``GraphPass.sites``."""
        types: Mapping[ir.Value, Inferred] | None = None
        taken: set[ir.Node] = set()
        for node in nodes_of(model, "Squeeze", "Unsqueeze", *_REDUCING):
            upper = _upper(node)
            if upper is None or upper in taken:
                continue
            types = infer_types(model) if types is None else types
            found = _merged(model, node, upper, types)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
            elif found is not None:
                taken |= {node, upper}
                axes, keepdims = found
                what = f"{label(upper)} reduces axes {list(axes)}, keepdims={int(keepdims)}"
                yield _Merged(node=node, what=what, upper=upper, axes=axes, keepdims=keepdims)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one reduction."""
        source = input_of(site.upper, 0) if isinstance(site, _Merged) else None
        if not isinstance(site, _Merged) or source is None:
            return
        builder = VersionedBuilder(model, site.node)
        builder.replace(builder.reduce(site.upper.op_type, source, site.axes, keepdims=site.keepdims))


def _upper(node: ir.Node) -> ir.Node | None:
    """Return the reduction that ``node`` may be part of."""
    source = input_of(node, 0)
    upper = source.producer() if source is not None else None
    if upper is None or upper.graph is not node.graph or not is_op(upper, *_REDUCING):
        return None
    return upper if node.op_type in ("Squeeze", "Unsqueeze", upper.op_type) else None


def _merged(
    model: ir.Model, node: ir.Node, upper: ir.Node, types: Mapping[ir.Value, Inferred]
) -> tuple[tuple[int, ...], bool] | str | None:
    """Return axes and keepdims of the one reduction; None where there is none, a str where it is unsure."""
    given = [_axes(model, item) for item in (upper, node)]
    if not given[0] or not given[1]:
        return "its axes, or those of the reduction above, are not constant"
    shape = shape_in(types, input_of(upper, 0))
    if shape is None:
        return "the rank of what is reduced is not known"
    rank, kept = len(shape), bool(attribute_int(upper, "keepdims", 1))
    first = {axis % rank for axis in given[0]}
    if is_op(node, "Squeeze", "Unsqueeze"):
        same = {axis % rank for axis in given[1]} == first
        # An axis is put back where it was reduced away, or taken out where it was kept.
        result = (tuple(sorted(first)), not kept) if same and kept == is_op(node, "Squeeze") else None
    else:
        left = list(range(rank)) if kept else [axis for axis in range(rank) if axis not in first]
        second = {left[axis % len(left)] for axis in given[1]}
        same = kept == bool(attribute_int(node, "keepdims", 1))
        result = (tuple(sorted(first | second)), kept) if same else None
    return result and (used_elsewhere(upper.outputs[0], node) or result)


def _axes(model: ir.Model, node: ir.Node) -> list[int] | None:
    """Return the axes as given; None when they are not, or not constant."""
    if has_attribute_references(node):
        return None
    if opset_of(model, node) >= _AXES_ARE_INPUT.get(node.op_type, 18):
        return ints_of(input_of(node, 1))
    given = node.attributes.get("axes")
    return None if given is None else list(given.as_ints())
