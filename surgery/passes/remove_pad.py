"""The pass ``remove_pad``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import input_of, ints_of, nodes_of, opset_of


@dataclass(frozen=True, kw_only=True)
class RemovePad(GraphPass):
    """Remove ``Pad`` nodes that pad by nothing.

    Why: exporters write one in front of an average pool whose padding is zero; a device runs it as
    a copy of the whole tensor.
    Before: ``x[N,C,H,W] -> Pad(0, ..., 0) -> AveragePool``.
    After: ``x -> AveragePool``.
    Seen in: deepmar_bs1.
    Known as: pad-fold (24).
    """

    name: ClassVar[str] = "remove_pad"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Pad``; see ``GraphPass.sites``."""
        for node in nodes_of(model, "Pad"):
            pads = _pads(node, opset_of(model, node))
            if pads is None:
                yield Declined(node=node, why="pads are computed at run time")
            elif any(pads):
                yield Declined(node=node, why=f"pads are {pads}, not all zero")
            else:
                yield Site(node=node, what=f"the {len(pads)} pads are all zero")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read the unpadded tensor."""
        if site.node.graph is not None:
            bypass(model, site.node)


def _pads(node: ir.Node, opset: int) -> list[int] | None:
    if opset >= 11:
        return ints_of(input_of(node, 1))
    attribute = node.attributes.get("pads" if opset >= 2 else "paddings")
    return None if attribute is None or attribute.is_ref() else [int(pad) for pad in attribute.as_ints()]
