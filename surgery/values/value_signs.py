"""Prove that a value is never negative, or nothing but zeros, from the operators that make it."""

import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_tensor, input_of, is_op, opset_of

_MOVES = ("Cast", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")
MAX_STEPS = 256
"""How many nodes are looked at before giving up."""

_ALWAYS = ("Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt")
_IF_ITS_INPUT_IS = (
    "AveragePool",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Unsqueeze",
)
_IF_ALL_INPUTS_ARE = ("Add", "Concat", "Mean", "Min", "Mul", "Sum")


def is_non_negative(model: ir.Model, value: ir.Value | None) -> bool:
    """Whether ``value`` is at least zero whatever the inputs are; False when that is not proven."""
    pending, seen = [value], set[ir.Value]()
    while pending:
        item = pending.pop()
        if item is None:
            return False
        if item in seen:
            continue
        seen.add(item)
        if len(seen) > MAX_STEPS:
            return False
        tensor = constant_tensor(item)
        if tensor is not None:
            if not bool((tensor.numpy() >= 0).all()):
                return False
            continue
        needed = _needed(model, item.producer())
        if needed is None:
            return False
        pending.extend(needed)
    return True


def _needed(model: ir.Model, node: ir.Node | None) -> list[ir.Value | None] | None:
    """Return what must be non-negative for the node's outputs to be so; None when nothing is enough."""
    if node is None:
        return None
    if is_op(node, *_ALWAYS):
        return []
    if is_op(node, *_IF_ITS_INPUT_IS):
        return [node.inputs[0]]
    if is_op(node, *_IF_ALL_INPUTS_ARE):
        return list(node.inputs)
    if is_op(node, "Cast"):
        to = node.attributes.get("to")  # large numbers may wrap in integers
        is_float = to is not None and not to.is_ref() and ir.DataType(to.as_int()).is_floating_point()
        return [node.inputs[0]] if is_float else None
    if is_op(node, "Max"):
        return [] if any(is_non_negative(model, value) for value in node.inputs) else None
    if is_op(node, "Where"):
        return [] if _is_clipped(node) else list(node.inputs[1:3])
    if node.domain == "npu" and node.op_type == "BatchMultiClassNMS":
        return list(node.inputs[:2])  # some of them, or zero
    if is_op(node, "Clip"):
        if opset_of(model, node) < 11:
            low = node.attributes.get("min")
            enough = low is not None and not low.is_ref() and low.as_float() >= 0
            return [] if enough else None
        return [input_of(node, 1)]
    return None


def _is_floor(value: ir.Value | None) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and bool((tensor.numpy() >= 0).all())


def _is_clipped(node: ir.Node) -> bool:
    """Whether a ``Where`` is ``x < floor ? floor : x``, which exporters write for a lower bound."""
    condition = node.inputs[0].producer() if node.inputs[0] is not None else None
    if condition is None or not is_op(condition, "Less") or not _is_floor(condition.inputs[1]):
        return False
    return _is_floor(node.inputs[1]) and condition.inputs[0] is node.inputs[2]


def is_zero(value: ir.Value) -> bool:
    """Whether a value holds nothing but zeros, whatever its shape."""
    tensor = constant_tensor(value)
    if tensor is not None:
        return tensor.dtype.is_floating_point() and not tensor.numpy().any()
    producer = value.producer()
    if producer is None:
        return False
    if is_op(producer, "ConstantOfShape"):
        filling = producer.attributes.get("value")
        return filling is None or not (filling.is_ref() or filling.as_tensor().numpy().any())
    first = producer.inputs[0] if producer.inputs else None
    return first is not None and is_op(producer, *_MOVES) and is_zero(first)
