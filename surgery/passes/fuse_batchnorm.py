"""The pass ``fuse_batchnorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    label,
    nodes_of,
)
from graphopt.surgery.semantics.affine_layers import (
    AffineSite,
    Floats,
    is_layer,
    why_not_folded,
    why_not_these_numbers,
)
from graphopt.surgery.semantics.batchnorm_affine import affine_of_batchnorm, why_not_affine


@dataclass(frozen=True, kw_only=True)
class FuseBatchnorm(GraphPass):
    """Fold ``BatchNormalization`` into the weight and bias of the layer before it.

    Why: at inference it is a fixed scale and shift per channel; as a node of its own it reads and
    writes the whole tensor once more, and in half precision rounds once more.
    Before: ``x -> Conv(w, b) -> BatchNormalization(scale, bias, mean, var)``.
    After: ``x -> Conv(w', b')``; also for ``ConvTranspose``, ``Gemm`` and ``DeformableConv2D``.
    Seen in: deepmar_bs1, skip_decoder.
    """

    name: ClassVar[str] = "fuse_batchnorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``BatchNormalization``; see ``GraphPass.sites``."""
        for node in nodes_of(model, "BatchNormalization"):
            layer = node.inputs[0].producer() if node.inputs[0] is not None else None
            if layer is None or not is_layer(layer):
                yield Declined(
                    node=node, why="it does not follow a Conv, ConvTranspose, Gemm or DeformableConv2D"
                )
                continue
            reason = why_not_affine(model, node) or why_not_folded(layer, node)
            if reason is not None:
                yield Declined(node=node, why=reason)
                continue
            factor, shift = affine_of_batchnorm(node)
            reason = _why_not_numbers(layer, factor, shift)
            if reason is not None:
                yield Declined(node=node, why=reason)
            else:
                what = f"{len(factor)} channels go into {label(layer)}"
                yield AffineSite(node=node, what=what, layer=layer, factor=factor, shift=shift)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the layer its own new weight and bias; the old ones stay for other readers."""
        if not isinstance(site, AffineSite) or site.node.graph is None:
            return
        site.apply(model, "batchnorm")


def _why_not_numbers(layer: ir.Node, factor: Floats, shift: Floats) -> str | None:
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        return "variance plus epsilon is not positive everywhere"
    return why_not_these_numbers(layer, factor, shift)
