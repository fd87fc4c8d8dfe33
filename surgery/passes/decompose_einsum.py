"""The pass ``decompose_einsum``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.einsum import Equation, Sizes, einsum, parse_equation, why_not
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _EinsumSite(Site):
    equation: Equation
    shapes: tuple[Sizes, ...]


@dataclass(frozen=True, kw_only=True)
class DecomposeEinsum(GraphPass):
    """Write Einsum with Transpose, Reshape, MatMul and ReduceSum.

    Why: ATC takes a short list of equations, and opset 11 none; engineers replace ``einsum`` in the
    network by ``matmul`` and ``permute``.
    Before: ``q[b,h,i,d], k[b,h,j,d] -> Einsum("bhid,bhjd->bhij")``.
    After: ``MatMul(q, Transpose(k, 0,1,3,2))``.
    Seen in: einsum_attention.
    Known as: einsum -> matmul/permute (S10).
    """

    name: ClassVar[str] = "decompose_einsum"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Einsum of one or two operands without ellipsis or diagonal."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Einsum"):
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
                continue
            text = node.attributes["equation"].as_string()
            equation = parse_equation(text)
            if isinstance(equation, str):
                yield Declined(node=node, why=equation)
                continue
            shapes = [_sizes(types, value) for value in node.inputs]
            reason = why_not(equation, shapes)
            if reason is not None:
                yield Declined(node=node, why=reason)
                continue
            known = tuple(shape for shape in shapes if shape is not None)
            yield _EinsumSite(node=node, what=f"{text} is written out", equation=equation, shapes=known)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        if not isinstance(site, _EinsumSite):
            return
        new = VersionedBuilder(model, site.node)
        inputs = [value for value in site.node.inputs if value is not None]
        result = einsum(new, inputs, site.equation, site.shapes)
        if result in inputs:  # an equation such as ij->ij
            result = new.op("Identity", result, like=result)
        new.replace(result)


def _sizes(types: KnownTypes, value: ir.Value | None) -> Sizes | None:
    shape = types.of(value).shape
    return None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)
