"""The pass ``decompose_groupnorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.normalizations import groupnorm
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _NormSite(Site):
    shape: tuple[int, ...]
    dtype: ir.DataType


@dataclass(frozen=True, kw_only=True)
class DecomposeGroupnorm(GraphPass):
    """Write GroupNormalization (opset 18) with InstanceNormalization over the groups.

    Why: ATC registers no GroupNormalization; older exporters wrote this form themselves.
    Before: ``x[N,C,H,W] -> GroupNormalization(scale, bias, num_groups=G)``.
    After: ``Reshape[N,G,-1] -> InstanceNormalization -> Reshape[N,C,H,W] -> Mul -> Add``.
    Seen in: group_norm_head.
    """

    name: ClassVar[str] = "decompose_groupnorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every GroupNormalization whose sizes after the batch are known."""
        types = KnownTypes(model)
        for node in nodes_of(model, "GroupNormalization"):
            found = types.of(node.inputs[0])
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
            elif found.dtype is None or found.shape is None:
                yield Declined(node=node, why="shape and dtype of its data are not known")
            elif not all(isinstance(size, int) for size in found.shape[1:]):
                yield Declined(node=node, why=f"its data is {found.text}; fix the shapes first")
            elif found.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
                yield Declined(
                    node=node, why=f"its data is {found.dtype}, but its mean is computed in float32"
                )
            else:
                first = found.shape[0] if isinstance(found.shape[0], int) else -1
                sizes = (first, *(size for size in found.shape[1:] if isinstance(size, int)))
                yield _NormSite(
                    node=node, what=f"over {found.text} is written out", shape=sizes, dtype=found.dtype
                )

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        if not isinstance(site, _NormSite):
            return
        new = VersionedBuilder(model, site.node)
        new.replace(groupnorm(new, site.node, shape=site.shape, dtype=site.dtype))
