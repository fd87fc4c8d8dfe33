"""Fold ``y * factor + shift`` per output channel into the weight and bias of a layer before it."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphopt.surgery.graph_edits import add_constant, remove_dead, remove_unread, take_over
from graphopt.surgery.graph_pass import Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
    used_elsewhere,
)
from graphopt.surgery.values.derived_tensors import derive, sizes_of

Floats = NDArray[np.float64]

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_DEFORMABLE = ("npu", "DeformableConv2D")
"""Ascend's operator: linear in its weight [out, ...] too, the bias behind the offsets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineSite(Site):
    """A layer, and the affine map ``y * factor + shift`` per channel that ``node`` applies behind it.

    Attributes:
        layer: that ``is_layer`` and ``why_not_folded`` let pass.
        factor: [channels].
        shift: [channels].
    """

    layer: ir.Node
    factor: Floats
    shift: Floats

    def apply(self, model: ir.Model, stem: str) -> None:
        """Give the layer its own new weight and bias and drop the node; other readers keep the old ones.

        Args:
            model: holds the layer.
            stem: start of the new names where the node's output has none.
        """
        old = self.node.outputs[0]
        replaced = _fold_into(model, self.layer, self.factor, self.shift, old.name or stem)
        take_over(self.layer.outputs[0], old)
        remove_dead(model, [self.node])
        remove_unread(model, replaced)


def is_layer(node: ir.Node) -> bool:
    """Whether a node is linear in a weight and adds a bias per channel."""
    return is_op(node, *_LAYERS) or _is_deformable(node)


def why_not_folded(layer: ir.Node, node: ir.Node) -> str | None:
    """Return why the affine map that ``node`` applies cannot go into ``layer`` (a clause), or None."""
    if has_attribute_references(node) or has_attribute_references(layer):
        return "an attribute comes from the caller of its function"
    if constant_tensor(layer.inputs[1]) is None:
        return f"the weight of {label(layer)} is computed at run time"
    if bias_of(layer) is not None and constant_tensor(bias_of(layer)) is None:
        return f"the bias of {label(layer)} is computed at run time"
    if layer.graph is not node.graph:
        return f"{label(layer)} is in another graph"
    return used_elsewhere(layer.outputs[0], node)


def why_not_these_numbers(layer: ir.Node, factor: Floats, shift: Floats) -> str | None:
    """Return why these numbers, one per channel, do not fit the layer (a clause), or None."""
    weight, bias = constant_tensor(layer.inputs[1]), constant_tensor(bias_of(layer))
    if weight is None:
        return "its weight is computed at run time"
    if channels_of(layer, weight) != len(factor):
        return f"it has {len(factor)} channels, {label(layer)} makes {channels_of(layer, weight)}"
    if bias is not None and not _is_per_channel(bias, len(factor)):
        return f"the bias of {label(layer)} has shape {sizes_of(bias)}, not one value per channel"
    if weight.dtype == ir.DataType.FLOAT16:
        largest = np.abs(weight.numpy().astype(np.float64) * _rows(layer, weight, factor)).max(initial=0.0)
        if not max(largest, np.abs(shift).max(initial=0.0)) <= np.finfo(np.float16).max:
            return "the fused weight or bias exceeds the range of float16"
    return None


def _fold_into(model: ir.Model, layer: ir.Node, factor: Floats, shift: Floats, stem: str) -> list[ir.Value]:
    """Give the layer its own new weight and bias; return the old ones, which may be unread now.

    Args:
        model: holds ``layer``.
        layer: that ``is_layer`` and ``why_not_folded`` let pass.
        factor: [channels].
        shift: [channels].
        stem: start of the new names.
    """
    weight, bias = constant_tensor(layer.inputs[1]), constant_of(bias_of(layer))
    if weight is None:
        raise ValueError(f"the weight of {label(layer)} is computed at run time")
    replaced = [value for value in (layer.inputs[1], bias_of(layer)) if value is not None]
    beta = layer.attributes.get_float("beta", 1.0) if is_op(layer, "Gemm") else 1.0
    start = np.zeros(len(factor)) if bias is None else beta * bias.astype(np.float64).reshape(-1)
    new_bias = (start * factor + shift).astype(weight.dtype.numpy())
    place = _bias_place(layer)
    layer.resize_inputs(max(place + 1, len(layer.inputs)))
    scaled = add_constant(model, layer, _scaled(layer, weight, factor), f"{stem}.weight")
    layer.replace_input_with(1, scaled)
    layer.replace_input_with(place, add_constant(model, layer, new_bias, f"{stem}.bias"))
    layer.attributes.pop("beta", None)
    return replaced


def bias_of(layer: ir.Node) -> ir.Value | None:
    """Return the bias of a layer, None when it has none."""
    return input_of(layer, _bias_place(layer))


def channels_of(layer: ir.Node, weight: ir.TensorProtocol) -> int:
    """Return how many channels a layer makes."""
    sizes = sizes_of(weight)
    if is_op(layer, "Conv") or _is_deformable(layer):
        return sizes[0]
    if is_op(layer, "ConvTranspose"):
        return sizes[1] * attribute_int(layer, "group", 1)
    return sizes[0] if attribute_int(layer, "transB", 0) else sizes[1]


def _is_deformable(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == _DEFORMABLE


def _bias_place(layer: ir.Node) -> int:
    return 3 if _is_deformable(layer) else 2


def _is_per_channel(bias: ir.TensorProtocol, channels: int) -> bool:
    sizes = sizes_of(bias)
    return bias.size == 1 or (sizes[-1:] == [channels] and bias.size == channels)


def _scaled(layer: ir.Node, weight: ir.TensorProtocol, factor: Floats) -> ir.LazyTensor:
    # Computed when it is written or read: the fused weights of a large model never lie in memory together.
    rows = _rows(layer, weight, factor)

    def multiplied(array: NDArray[np.generic]) -> NDArray[np.generic]:
        # In float64, piece by piece: no copy of the whole weight in that type.
        product = np.empty_like(array)
        np.multiply(array, rows, out=product, dtype=np.float64, casting="unsafe")
        return product

    return derive(weight, multiplied, sizes_of(weight))


def _rows(layer: ir.Node, weight: ir.TensorProtocol, factor: Floats) -> Floats:
    """Return the factors in a shape that broadcasts over the weight."""
    sizes = sizes_of(weight)
    if is_op(layer, "Conv") or _is_deformable(layer):
        return factor.reshape(-1, *[1] * (len(sizes) - 1))
    if is_op(layer, "ConvTranspose"):  # [in, out / group, ...]: each group of inputs has its own outputs
        group = attribute_int(layer, "group", 1)
        per_input = factor.reshape(group, 1, sizes[1]).repeat(sizes[0] // group, axis=1)
        return per_input.reshape(sizes[0], sizes[1], *[1] * (len(sizes) - 2))
    return factor.reshape(-1, 1) if attribute_int(layer, "transB", 0) else factor.reshape(1, -1)
