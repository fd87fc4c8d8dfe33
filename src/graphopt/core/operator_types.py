"""Which types the schema of a standard operator allows, input by input and output by output."""

import onnx
import onnx_ir as ir

FLOAT16, FLOAT = "tensor(float16)", "tensor(float)"


def allowed_types(
    node: ir.Node, opset: int
) -> tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]] | None:
    """Return what each input and each output of a node may be, as ``tensor(float16)``.

    Args:
        node: of any operator.
        opset: version of the standard operators.

    Returns:
        One set for each input and for each output of the node; None for an operator that ONNX does not
        know in that version.
    """
    if node.domain != "" or not onnx.defs.has(node.op_type, opset):
        return None
    schema = onnx.defs.get_schema(node.op_type, opset)
    allowed = {item.type_param_str: frozenset(item.allowed_type_strs) for item in schema.type_constraints}
    inputs, outputs = (
        tuple(
            allowed.get(text, frozenset([text]))
            for index in range(count)
            for text in (formals[min(index, len(formals) - 1)].type_str,)  # the last one may be variadic
        )
        for formals, count in ((schema.inputs, len(node.inputs)), (schema.outputs, len(node.outputs)))
    )
    return inputs, outputs
