"""Nodes whose results are float16 numbers whenever their operands are: they need no rounding."""

from collections.abc import Mapping

import onnx_ir as ir

_CHOOSES = frozenset(
    {
        "Compress",
        "ConcatFromSequence",
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "Identity",
        "If",
        "Loop",
        "Max",
        "Min",
        "OneHot",
        "ReduceMax",
        "ReduceMin",
        "Relu",
        "Reshape",
        "ReverseSequence",
        "Scan",
        "SequenceAt",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "TopK",
        "Transpose",
        "Trilu",
        "Unique",
        "Unsqueeze",
        "Where",
    }
)
"""They move or choose elements; what control flow returns was rounded inside."""
_STAYS = frozenset({"Abs", "Ceil", "Floor", "Neg", "Round", "Sign"})
"""They change a float16 number to another one exactly: beyond 1024 all of them are integers."""
_CLIPS = frozenset({"Clip", "Pad"})
"""They choose too, unless their bounds or fill are attributes (before opset 11), which nothing rounds."""
_SCATTERS = frozenset({"Scatter", "ScatterElements", "ScatterND"})
_SMALL = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8}
)
"""A Cast from them gives float16 numbers: a float32 operand is one."""


def keeps_halves(node: ir.Node, types: Mapping[ir.Value, ir.DataType | None]) -> bool:
    """Whether a node's float32 results are float16 numbers because its operands are.

    Args:
        node: its float32 operands hold float16 numbers.
        types: of the model's values.
    """
    if node.domain != "":
        return False
    name, attributes = node.op_type, node.attributes
    if name in _CHOOSES or name in _STAYS:
        return True
    if name in _CLIPS:
        return not {"min", "max", "value"} & set(attributes)
    if name in _SCATTERS:
        return _text(node, "reduction", "none") == "none"
    if name == "MaxPool":  # a window of padding alone holds the lowest float32
        return not attributes.get_int("ceil_mode", 0) and "dilations" not in attributes
    if name in ("Resize", "Upsample"):
        return _text(node, "mode", "nearest") == "nearest" and "extrapolation_value" not in attributes
    if name == "Cast":
        source = node.inputs[0]
        dtype = (types.get(source) or source.dtype) if source is not None else None
        return dtype in _SMALL
    return False


def _text(node: ir.Node, name: str, default: str) -> str:
    held = node.attributes.get(name)
    return default if held is None or held.is_ref() else held.as_string()
