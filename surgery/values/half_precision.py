"""Which inputs and outputs of a node can be float16, by the operator's own schema."""

from dataclasses import dataclass

import onnx_ir as ir

from graphopt.core.operator_types import FLOAT, FLOAT16, allowed_types
from graphopt.surgery.graph_queries import has_subgraph


@dataclass(frozen=True)
class HalfForm:
    """How an operator looks in half precision.

    Attributes:
        inputs: for each input whether it follows the data type (True) or stays float32.
        outputs: as ``inputs``.
    """

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]


def half_form(node: ir.Node, opset: int) -> HalfForm | str:
    """Return the half-precision form of a node, or why it has none (a clause)."""
    allowed = allowed_types(node, opset)
    if allowed is None:
        return "it is no standard operator"
    if has_subgraph(node):
        return "it has a subgraph"
    followers = []
    for row in allowed:
        if any(held.startswith(("seq(", "optional(")) for types in row for held in types):
            return "it works on a sequence or an optional, which stays in float32"
        followers.append(tuple(FLOAT in types and FLOAT16 in types for types in row))
    if not any(followers[0]) and not any(followers[1]):
        return "it takes no float16"
    return HalfForm(inputs=followers[0], outputs=followers[1])
