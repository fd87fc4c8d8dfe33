"""Layer, group and instance normalisation, and division by a norm, from elementary operators."""

import numpy as np
import onnx_ir as ir

from graphopt.surgery.decompositions.scalars import scalar
from graphopt.surgery.graph_queries import attribute_int, input_of
from graphopt.surgery.versioned_builder import VersionedBuilder


def layernorm(
    new: VersionedBuilder, node: ir.Node, *, rank: int, dtype: ir.DataType
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Write LayerNormalization in the order that Ascend's fusion looks for.

    ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, then scale and bias. Works in the dtype of the
    data: for float16 the specification computes mean and variance in float32 (``stash_type``).

    Returns:
        The result, the mean, and one over the deviation (its second and third output).
    """
    data, scale, bias = node.inputs[0], input_of(node, 1), input_of(node, 2)
    assert data is not None
    first = attribute_int(node, "axis", -1) % rank
    axes = list(range(first - rank, 0))
    mean = new.reduce("ReduceMean", data, axes)
    centred = new.op("Sub", data, mean, like=data)
    square = new.op("Pow", centred, scalar(new, 2.0, dtype, "two"), like=data)
    variance = new.reduce("ReduceMean", square, axes)
    epsilon = scalar(new, node.attributes.get_float("epsilon", 1e-5), dtype, "epsilon")
    deviation = new.op("Sqrt", new.op("Add", variance, epsilon))
    result = new.op("Div", centred, deviation, like=data)
    if scale is not None:
        result = new.op("Mul", result, scale, like=data)
    if bias is not None:
        result = new.op("Add", result, bias, like=data)
    inverse = deviation
    if len(node.outputs) > 2 and node.outputs[2].name:
        inverse = new.op("Reciprocal", deviation)
    return result, mean, inverse


def groupnorm(
    new: VersionedBuilder, node: ir.Node, *, shape: tuple[int, ...], dtype: ir.DataType
) -> ir.Value:
    """Write GroupNormalization with InstanceNormalization over the groups.

    Args:
        new: where to write.
        node: scale and bias have one value per group before opset 21, per channel since.
        shape: of the data, [N, C, ...]; N may be -1, all others are known.
        dtype: of the data.
    """
    data, scale, bias = node.inputs
    assert data is not None
    assert scale is not None
    assert bias is not None
    groups = attribute_int(node, "num_groups", 1)
    spread = [1] * (len(shape) - 2)
    ones = new.constant(np.ones(groups, dtype.numpy()), "ones")
    zeros = new.constant(np.zeros(groups, dtype.numpy()), "zeros")
    grouped_sizes = new.constant(np.array([0, groups, -1], np.int64), "groups")
    grouped = new.op("Reshape", data, grouped_sizes)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    normed = new.op("InstanceNormalization", grouped, ones, zeros, attributes={"epsilon": epsilon})
    back = new.op("Reshape", normed, new.constant(np.array(shape, np.int64), "sizes"), like=data)
    per_group = new.opset < 21
    factor = _per_channel(new, scale, groups, shape[1], spread, per_group=per_group)
    shift = _per_channel(new, bias, groups, shape[1], spread, per_group=per_group)
    return new.op("Add", new.op("Mul", back, factor, like=data), shift, like=data)


def _per_channel(
    new: VersionedBuilder, value: ir.Value, groups: int, channels: int, spread: list[int], *, per_group: bool
) -> ir.Value:
    """Return one number per channel, as [C, 1, ...]."""
    if per_group:
        column = new.op("Reshape", value, new.constant(np.array([groups, 1], np.int64), "column"))
        each = new.constant(np.array([groups, channels // groups], np.int64), "each")
        value = new.op("Expand", column, each)
    return new.op("Reshape", value, new.constant(np.array([channels, *spread], np.int64), "channels"))


def l2norm(new: VersionedBuilder, data: ir.Value, axes: list[int], *, keepdims: bool) -> ir.Value:
    """Write the root of the sum of squares over some axes."""
    square = new.op("Mul", data, data, like=data)
    return new.op("Sqrt", new.reduce("ReduceSum", square, axes, keepdims=keepdims))
