"""Which inputs and outputs of a node can be float16, by the operator's own schema."""

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from graphopt.surgery.graph_queries import ONNX_DOMAIN, has_subgraph

_FLOAT16 = "tensor(float16)"
_FLOAT = "tensor(float)"


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
    if node.domain != ONNX_DOMAIN or not onnx.defs.has(node.op_type, opset):
        return "it is no standard operator"
    if has_subgraph(node):
        return "it has a subgraph"
    schema = onnx.defs.get_schema(node.op_type, opset)
    allowed = {item.type_param_str: set(item.allowed_type_strs) for item in schema.type_constraints}
    followers = []
    for formals, count in ((schema.inputs, len(node.inputs)), (schema.outputs, len(node.outputs))):
        row = []
        for index in range(count):
            formal = formals[min(index, len(formals) - 1)]
            types = allowed.get(formal.type_str, {formal.type_str})
            if any(held.startswith(("seq(", "optional(")) for held in types):
                return "it works on a sequence or an optional, which stays in float32"
            row.append(_FLOAT in types and _FLOAT16 in types)
        followers.append(tuple(row))
    if not any(followers[0]) and not any(followers[1]):
        return "it takes no float16"
    return HalfForm(inputs=followers[0], outputs=followers[1])
