"""The pass ``decompose_l2norm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.normalizations import l2norm
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _NormSite(Site):
    axes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DecomposeL2norm(GraphPass):
    """Write ReduceL2 and LpNormalization with Mul, ReduceSum and Sqrt.

    Why: their kernels are limited or missing on devices; engineers replace ``normalize`` by hand.
    Before: ``x -> ReduceL2(axes=[1])``; ``x -> LpNormalization(axis=1, p=2)``.
    After: ``Sqrt(ReduceSum(x * x))``; ``x / Sqrt(ReduceSum(x * x))``.
    Seen in: embedding_head.
    Known as: normalize/norm -> mul, sqrt, sum (S16).
    """

    name: ClassVar[str] = "decompose_l2norm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ReduceL2 over known axes and every LpNormalization."""
        types = KnownTypes(model)
        for node in nodes_of(model, "ReduceL2", "LpNormalization"):
            dtype = types.of(node.inputs[0]).dtype
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
            elif dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
                yield Declined(node=node, why=f"squares of {dtype} data may overflow")
            elif node.op_type == "LpNormalization":
                axis = attribute_int(node, "axis", -1)
                yield _NormSite(node=node, what=f"over axis {axis} is written out", axes=(axis,))
            elif (axes := _axes(model, types, node)) is None:
                yield Declined(node=node, why="its axes are not known")
            else:
                yield _NormSite(node=node, what=f"over axes {list(axes)} is written out", axes=axes)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        node, data = site.node, site.node.inputs[0]
        if not isinstance(site, _NormSite) or data is None:
            return
        new, axes = VersionedBuilder(model, node), list(site.axes)
        if node.op_type == "ReduceL2":
            keep = bool(attribute_int(node, "keepdims", 1))
            new.replace(l2norm(new, data, axes, keepdims=keep))
            return
        if attribute_int(node, "p", 2) == 1:
            norm = new.reduce("ReduceSum", new.op("Abs", data, like=data), axes)
        else:
            norm = l2norm(new, data, axes, keepdims=True)
        new.replace(new.op("Div", data, norm, like=data))


def _axes(model: ir.Model, types: KnownTypes, node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes written out; None when they, or the rank they stand for, are not known."""
    if opset_of(model, node) < 18:
        listed = node.attributes.get("axes")
        given = list(listed.as_ints()) if listed is not None else []
    elif input_of(node, 1) is None:
        given = []
    else:
        found = ints_of(input_of(node, 1))
        if found is None:
            return None
        given = found
    if given:
        return tuple(given)
    rank = types.rank(node.inputs[0])
    if rank is None or attribute_int(node, "noop_with_empty_axes", 0):
        return None
    return tuple(range(rank))
