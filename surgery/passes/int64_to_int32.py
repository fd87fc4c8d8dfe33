"""The pass ``int64_to_int32``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.values.narrowing import Narrowing, Region, narrow


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
            if not region.computes:
                continue
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
        """Write the nodes anew in int32, between Casts."""
        if isinstance(site, _Narrow):
            narrow(model, site.region)
