"""The pass ``decompose_layernorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.normalizations import layernorm
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _NormSite(Site):
    rank: int
    dtype: ir.DataType


@dataclass(frozen=True, kw_only=True)
class DecomposeLayernorm(GraphPass):
    """Write LayerNormalization (opset 17) with elementary operators.

    Why: older toolchains have no such operator, and newer ones fuse the written-out form.
    Before: ``x -> LayerNormalization(scale, bias)``.
    After: ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add.
    Seen in: transformer_layer.
    """

    name: ClassVar[str] = "decompose_layernorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every LayerNormalization of float32 or wider data of known rank."""
        types = KnownTypes(model)
        for node in nodes_of(model, "LayerNormalization"):
            found = types.of(node.inputs[0])
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
            elif found.shape is None or found.dtype is None:
                yield Declined(node=node, why="rank and dtype of its data are not known")
            elif found.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
                yield Declined(
                    node=node, why=f"its data is {found.dtype}, but its mean is computed in float32"
                )
            else:
                yield _NormSite(
                    node=node, what="becomes elementary operators", rank=len(found.shape), dtype=found.dtype
                )

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        if not isinstance(site, _NormSite):
            return
        new = VersionedBuilder(model, site.node)
        new.replace(*layernorm(new, site.node, rank=site.rank, dtype=site.dtype))
