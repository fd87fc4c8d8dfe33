"""Write nodes whose spelling changed between opsets, in the spelling of the model's own."""

import onnx_ir as ir

from graphopt.core.versioned_ops import VersionedOps
from graphopt.surgery.graph_queries import opset_of
from graphopt.surgery.node_builder import NodeBuilder


class VersionedBuilder(NodeBuilder, VersionedOps):
    """A ``NodeBuilder`` that knows where operators took attributes before they took inputs.

    Args:
        model: the model that holds ``before``.
        before: the node that the new ones make way for, or feed.
        stem: start of the new names; the first output of ``before`` when empty.
        opset: to write for; None is that of ``before``.
    """

    def __init__(self, model: ir.Model, before: ir.Node, stem: str = "", *, opset: int | None = None) -> None:
        super().__init__(model, before, stem)
        self.opset = opset_of(model, before) if opset is None else opset
