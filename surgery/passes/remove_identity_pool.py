"""The pass ``remove_identity_pool``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, nodes_of


@dataclass(frozen=True, kw_only=True)
class RemoveIdentityPool(GraphPass):
    """Remove pools whose window is a single element.

    Why: RefineNet's last chained residual pooling block was trained with kernel 1; each such pool is
    a copy of the largest map of the network.
    Before: ``x[N,C,H,W] -> MaxPool(kernel 1x1, stride 1, no pads) -> Conv``; also ``AveragePool``.
    After: ``x -> Conv``.
    Seen in: chained_pooling.
    """

    name: ClassVar[str] = "remove_identity_pool"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every max and average pool; see ``GraphPass.sites``."""
        for node in nodes_of(model, "MaxPool", "AveragePool"):
            reason = _why_it_pools(node) or why_not_bypassed(node)
            if reason is None:
                yield Site(node=node, what="its window is one element")
            else:
                yield Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read what would have been pooled."""
        # An earlier change of the sweep may have made the input a graph input or output.
        if site.node.graph is not None and why_not_bypassed(site.node) is None:
            bypass(model, site.node)


def _why_it_pools(node: ir.Node) -> str | None:
    """Return what keeps the pool from being a copy, or None.

    Dilations, ``ceil_mode`` and ``auto_pad`` mean nothing for a window of one element and stride 1.
    """
    if has_attribute_references(node):
        return "its attributes are those of the enclosing function"
    kernel = _ints(node, "kernel_shape")
    if any(size != 1 for size in kernel):
        return f"its kernel is {_text(kernel)}"
    strides = _ints(node, "strides")
    if any(stride != 1 for stride in strides):
        return f"its kernel is {_text(kernel)}, but it strides by {_text(strides)}"
    pads = _ints(node, "pads")
    if any(pads):
        return f"it pads by {pads}"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "its indices are read"
    return None


def _ints(node: ir.Node, name: str) -> list[int]:
    attribute = node.attributes.get(name)
    return [] if attribute is None else [int(item) for item in attribute.as_ints()]


def _text(sizes: list[int]) -> str:
    return "x".join(map(str, sizes))
