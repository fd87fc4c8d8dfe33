"""The pass ``decompose_gelu``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.activations import gelu
from graphopt.surgery.decompositions.scalars import float_type
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.known_types import KnownTypes


@dataclass(frozen=True, kw_only=True, eq=False)
class _GeluSite(Site):
    dtype: ir.DataType


@dataclass(frozen=True, kw_only=True)
class DecomposeGelu(GraphPass):
    """Write the Gelu operator of opset 20 with Erf or Tanh.

    Why: ATC registers no Gelu; its fusion finds the written-out form.
    Before: ``x -> Gelu``.
    After: ``0.5 * x * (1 + Erf(x / sqrt(2)))``, or the tanh form for ``approximate="tanh"``.
    Seen in: transformer_layer.
    """

    name: ClassVar[str] = "decompose_gelu"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Gelu of a known float type."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Gelu"):
            dtype = types.of(node.inputs[0]).dtype
            if has_attribute_references(node):
                yield Declined(node=node, why="an attribute comes from the caller of its function")
            elif dtype is None and node.outputs[0].dtype is None:
                yield Declined(node=node, why="its dtype is not known")
            else:
                form = node.attributes.get_string("approximate", "none")
                what = "tanh" if form == "tanh" else "erf"
                yield _GeluSite(node=node, what=f"the {what} form", dtype=float_type(node, dtype))

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        if isinstance(site, _GeluSite):
            new = NodeBuilder(model, site.node)
            new.replace(gelu(new, site.node, site.dtype))
