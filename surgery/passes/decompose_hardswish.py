"""The pass ``decompose_hardswish``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.decompositions.activations import hardswish, mish
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.node_builder import NodeBuilder


@dataclass(frozen=True, kw_only=True)
class DecomposeHardswish(GraphPass):
    """Write HardSwish (opset 14) and Mish (opset 18) with elementary operators.

    Why: both are missing at opset 11, which ATC knows best, and on older devices.
    Before: ``x -> HardSwish``; ``x -> Mish``.
    After: ``x * HardSigmoid(x, 1/6, 1/2)``; ``x * Tanh(Softplus(x))``.
    Seen in: mobile_block.
    """

    name: ClassVar[str] = "decompose_hardswish"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every HardSwish and Mish."""
        for node in nodes_of(model, "HardSwish", "Mish"):
            gate = "HardSigmoid" if node.op_type == "HardSwish" else "Tanh and Softplus"
            yield Site(node=node, what=f"becomes a product with {gate}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write it out."""
        new = NodeBuilder(model, site.node)
        new.replace((hardswish if site.node.op_type == "HardSwish" else mish)(new, site.node))
