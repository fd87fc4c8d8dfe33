"""Write one 1-D operator as a 2-D one: ``[N, C, L]`` becomes ``[N, C, 1, L]``, or ``[N, C, L, 1]``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    opset_of,
)
from graphopt.surgery.semantics.windows import pads_of
from graphopt.surgery.shapes.shape_inference import Inferred
from graphopt.surgery.values.derived_tensors import derive, sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

HEIGHT, WIDTH = 2, 3
"""Where the new axis may stand: the length is the other one."""

CONVOLUTIONS = ("Conv", "ConvTranspose")
POOLS = ("MaxPool", "AveragePool", "LpPool")
NORMS = ("BatchNormalization", "InstanceNormalization")
SOFTMAXES = ("Softmax", "LogSoftmax")
GLOBAL_POOLS = ("GlobalAveragePool", "GlobalMaxPool")
# fmt: off
ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "Cast", "Celu", "Ceil", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal", "Erf",
        "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
        "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not",
        "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
        "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where",
    }
)
# fmt: on

Types = Mapping[ir.Value, Inferred]


def why_not_lifted(model: ir.Model, node: ir.Node, types: Types, axis: int) -> str | None:
    """Return why a node cannot get one more axis (a clause), "" when it is of no such kind, or None."""
    if node.domain or has_attribute_references(node):
        return "an attribute comes from the caller of its function" if not node.domain else ""
    if not _has_rank_three(node.outputs[0], types):
        return "" if not _is_1d_convolution(node) else "the rank of its output is not known"
    if is_op(node, *CONVOLUTIONS):
        if constant_tensor(input_of(node, 1)) is None:
            return "its weight is computed at run time"
        return None
    first = node.inputs[0] if node.inputs else None
    if is_op(node, "Pad"):
        return _why_no_pad(model, node)
    if is_op(node, "BatchNormalization") and attribute_int(node, "training_mode", 0):
        return "it is in training mode"
    if is_op(node, *POOLS) and any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "it also gives indices"
    if is_op(node, *SOFTMAXES) and (opset_of(model, node) < 13 or "axis" not in node.attributes):
        return ""  # before opset 13 it flattens the axes behind
    if is_op(node, *POOLS, *NORMS, *GLOBAL_POOLS, *SOFTMAXES, "Split"):
        return None if first is not None and _has_rank_three(first, types) else ""
    if is_op(node, "Concat"):
        return None if all(v is not None and _has_rank_three(v, types) for v in node.inputs) else ""
    if node.op_type in ELEMENTWISE:
        return None if all(_can_broadcast(value, types, axis) for value in node.inputs) else ""
    return ""


def data_inputs(node: ir.Node, types: Types) -> tuple[int, ...]:
    """Return which inputs get one more axis with the node (constants not among them)."""
    if node.op_type not in ELEMENTWISE and not is_op(node, "Concat"):
        return (0,)
    return tuple(
        index
        for index, value in enumerate(node.inputs)
        if value is not None and constant_tensor(value) is None and _has_rank_three(value, types)
    )


def add_axis_node(
    new: VersionedBuilder,
    node: ir.Node,
    data: tuple[int, ...],
    lifted: dict[ir.Value, ir.Value],
    axis: int,
) -> tuple[ir.Value, ...]:
    """Write the 2-D form of ``node`` in front of it and return its outputs.

    Args:
        new: writes in front of ``node``.
        node: one for which ``why_not_lifted`` says None.
        data: what ``data_inputs`` says.
        lifted: 1-D value -> 2-D value; what enters the group is added.
        axis: ``HEIGHT`` or ``WIDTH``, the new one.
    """
    inputs: list[ir.Value | None] = []
    for index, value in enumerate(node.inputs):
        if value is None:
            inputs.append(None)
        elif index in data:
            if value not in lifted:
                lifted[value] = new.unsqueeze(value, [axis])
            inputs.append(lifted[value])
        else:
            inputs.append(_lifted_constant(new, node, index, value, lifted, axis))
    attributes = {name: _lifted_attribute(node, name, axis) for name in node.attributes}
    outputs = new.ops(node.op_type, *inputs, attributes=attributes, outputs=len(node.outputs))
    for made, old in zip(outputs, node.outputs, strict=True):
        made.type = old.type
    return outputs


def _lifted_constant(
    new: VersionedBuilder,
    node: ir.Node,
    index: int,
    value: ir.Value,
    lifted: dict[ir.Value, ir.Value],
    axis: int,
) -> ir.Value:
    tensor = constant_tensor(value)
    if tensor is None or not _needs_axis(node, index, tensor, axis):
        return value
    if value not in lifted:
        sizes = sizes_of(tensor)
        if is_op(node, "Pad"):
            lifted[value] = new.integers(_both_ends(tensor.numpy().tolist(), 0, axis), "pads")
        else:
            shape = _with_axis(sizes, 1, axis)
            lifted[value] = new.constant(derive(tensor, _reshaped(shape), shape), "lifted")
    return lifted[value]


def _needs_axis(node: ir.Node, index: int, tensor: ir.TensorProtocol, axis: int) -> bool:
    if is_op(node, *CONVOLUTIONS, "Pad"):
        return index == 1
    if is_op(node, *NORMS, "Split"):
        return False
    return len(sizes_of(tensor)) >= (2 if axis == HEIGHT else 1)


def _reshaped(shape: list[int]) -> Callable[[Array], Array]:
    def reshape(array: Array) -> Array:
        return array.reshape(shape)

    return reshape


def _lifted_attribute(node: ir.Node, name: str, axis: int) -> Any:
    attribute = node.attributes[name]
    if name in ("kernel_shape", "strides", "dilations"):
        return _with_axis(attribute.as_ints(), 1, axis)
    if name in ("output_padding", "output_shape"):
        return _with_axis(attribute.as_ints(), 0 if name == "output_padding" else 1, axis)
    if name == "pads":
        return _both_ends(attribute.as_ints(), 0, axis)
    if name == "axis" and is_op(node, "Concat", "Split", *SOFTMAXES):
        joined = attribute.as_int() % 3
        return joined + 1 if joined >= axis else joined
    return attribute


def _with_axis(numbers: Sequence[int], item: int, axis: int) -> list[int]:
    """Put ``item`` in for the new axis, where the last number is the length's."""
    return [*numbers[:-1], item, numbers[-1]] if axis == HEIGHT else [*numbers, item]


def _both_ends(pads: Sequence[int], item: int, axis: int) -> list[int]:
    half = len(pads) // 2
    return _with_axis(pads[:half], item, axis) + _with_axis(pads[half:], item, axis)


def _why_no_pad(model: ir.Model, node: ir.Node) -> str | None:
    if input_of(node, 3) is not None or pads_of(model, node) is None:
        return "its pads are computed at run time, or name axes"
    return None


def _has_rank_three(value: ir.Value, types: Types) -> bool:
    known = types.get(value)
    return known is not None and known.shape is not None and len(known.shape) == 3


def _is_1d_convolution(node: ir.Node) -> bool:
    weight = constant_tensor(input_of(node, 1)) if is_op(node, *CONVOLUTIONS) else None
    return weight is not None and len(sizes_of(weight)) == 3


def _can_broadcast(value: ir.Value | None, types: Types, axis: int) -> bool:
    """Whether an element-wise operand broadcasts alike with one more axis."""
    if value is None:
        return True
    tensor = constant_tensor(value)
    if tensor is not None:
        return len(sizes_of(tensor)) <= 3
    known = types.get(value)
    return (
        known is not None
        and known.shape is not None
        and len(known.shape) in ((0, 1, 3) if axis == HEIGHT else (0, 3))
    )
