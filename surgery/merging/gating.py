"""The gate of an attention cell in one spelling: GlobalAveragePool, Sigmoid, Mul(map, gate), Add."""

from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.merging.cells import Gate, MergeCell
from graphopt.surgery.node_builder import NodeBuilder


@dataclass(frozen=True, kw_only=True)
class Gating:
    """A gate whose mean is another operator, or whose factors stand the other way round."""

    gate: Gate

    @property
    def what(self) -> str:
        """The change in words."""
        said = [] if _pools(self.gate) else [f"{self.gate.pool.op_type} is GlobalAveragePool"]
        if self.gate.product.inputs[0] is not self.gate.feature:
            said.append("the gate is the second factor")
        return ", ".join(said)

    def apply(self, model: ir.Model) -> None:
        """Write the pool, and put the factors in order."""
        pool, product = self.gate.pool, self.gate.product
        if product.graph is None:
            return
        if pool.graph is not None and not _pools(self.gate):
            new = NodeBuilder(model, pool)
            new.replace(new.op("GlobalAveragePool", self.gate.source, like=pool.outputs[0]))
        if product.inputs[1] is not self.gate.sigmoid.outputs[0]:
            first, second = product.inputs
            product.replace_input_with(0, second)
            product.replace_input_with(1, first)


@dataclass(frozen=True, kw_only=True)
class Adding:
    """A ``Sum`` of two, which is an ``Add``."""

    node: ir.Node
    what: str = "Sum is Add"

    def apply(self, model: ir.Model) -> None:
        """Write the Add."""
        if self.node.graph is not None:
            new = NodeBuilder(model, self.node)
            new.replace(new.op("Add", *self.node.inputs, like=self.node.outputs[0]))


def plan_gating(cell: MergeCell) -> list[Gating | Adding]:
    """Say what is spelled otherwise in a cell; nothing when it is well spelled."""
    found: list[Gating | Adding] = []
    if cell.gate is not None:
        gating = Gating(gate=cell.gate)
        found += [gating] if gating.what else []
    return [*found, Adding(node=cell.node)] if cell.node.op_type == "Sum" else found


def _pools(gate: Gate) -> bool:
    return gate.pool.op_type == "GlobalAveragePool"
