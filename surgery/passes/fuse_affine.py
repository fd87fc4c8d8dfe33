"""The pass ``fuse_affine``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, is_op, label, nodes_of
from graphopt.surgery.semantics.affine_layers import (
    AffineSite,
    channels_of,
    is_layer,
    why_not_folded,
    why_not_these_numbers,
)
from graphopt.surgery.semantics.channel_constants import channel_affine
from graphopt.surgery.values.derived_tensors import sizes_of


@dataclass(frozen=True, kw_only=True)
class FuseAffine(GraphPass):
    """Fold a constant scale or shift per channel into the weight and bias of the layer before it.

    Why: exporters write the bias of a transposed convolution, a learnt scale or an input's offset as
    nodes of their own; each reads and writes the whole tensor, and quantisation tools do not fuse it.
    Before: ``x -> ConvTranspose(w) -> Add(c[C,1,1])``; also ``Mul``, ``Sub`` and ``Div``.
    After: ``x -> ConvTranspose(w', c)``; also for ``Conv`` and ``Gemm``.
    Seen in: fcos, upsampling_decoder.
    Known as: depthwise/convtranspose bias fold (44).
    """

    name: ClassVar[str] = "fuse_affine"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every such node behind a layer; see ``GraphPass.sites``."""
        for node in nodes_of(model, "Add", "Sub", "Mul", "Div"):
            layer, constant = _operands(node)
            if layer is None or constant is None:
                continue
            reason = why_not_folded(layer, node)
            weight = constant_tensor(layer.inputs[1])
            if reason is not None or weight is None:
                yield Declined(node=node, why=reason or "its weight is computed at run time")
                continue
            rank = 2 if is_op(layer, "Gemm") else len(sizes_of(weight))
            found = channel_affine(node, layer.outputs[0], channels_of(layer, weight), rank)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
                continue
            factor, shift = found
            reason = why_not_these_numbers(layer, factor, shift)
            if reason is not None:
                yield Declined(node=node, why=reason)
            else:
                what = f"{node.op_type} of {len(factor)} channels goes into {label(layer)}"
                yield AffineSite(node=node, what=what, layer=layer, factor=factor, shift=shift)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the layer its own new weight and bias; the old ones stay for other readers."""
        if not isinstance(site, AffineSite) or site.node.graph is None:
            return
        # In a chain behind one layer each is folded in turn: an earlier one may have moved the output.
        if site.layer.outputs[0] not in site.node.inputs:
            return
        site.apply(model, "affine")


def _operands(node: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """Return the layer that makes one operand, and the other operand when it is constant."""
    for index in (0, 1):
        value, other = node.inputs[index], node.inputs[1 - index]
        layer = value.producer() if value is not None else None
        if layer is not None and is_layer(layer) and constant_tensor(other) is not None:
            return layer, other
    return None, None
