"""The pass ``fuse_batchnorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphopt.surgery.graph_edits import add_constant, remove_dead, remove_unread, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
    nodes_of,
    opset_of,
    used_elsewhere,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fusion(Site):
    """A layer and the affine map ``y = x * factor + shift`` per channel that its norm applies."""

    layer: ir.Node
    factor: Floats
    shift: Floats


@dataclass(frozen=True, kw_only=True)
class FuseBatchnorm(GraphPass):
    """Fold ``BatchNormalization`` into the weight and bias of the layer before it.

    Why: at inference it is a fixed scale and shift per channel; as a node of its own it reads and
    writes the whole tensor once more, and in half precision rounds once more.
    Before: ``x -> Conv(w, b) -> BatchNormalization(scale, bias, mean, var)``.
    After: ``x -> Conv(w', b')``; also for ``ConvTranspose`` and ``Gemm``.
    Seen in: deepmar_bs1, skip_decoder.
    """

    name: ClassVar[str] = "fuse_batchnorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``BatchNormalization``; see ``GraphPass.sites``."""
        for node in nodes_of(model, "BatchNormalization"):
            layer = node.inputs[0].producer() if node.inputs[0] is not None else None
            if layer is None or not is_op(layer, "Conv", "ConvTranspose", "Gemm"):
                yield Declined(node=node, why="it does not follow a Conv, ConvTranspose or Gemm")
                continue
            reason = _why_not(model, node, layer)
            if reason is not None:
                yield Declined(node=node, why=reason)
                continue
            factor, shift = _affine(node)
            reason = _why_not_numbers(layer, factor, shift)
            if reason is not None:
                yield Declined(node=node, why=reason)
            else:
                what = f"{len(factor)} channels go into {label(layer)}"
                yield _Fusion(node=node, what=what, layer=layer, factor=factor, shift=shift)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the layer its own new weight and bias; the old ones stay for other readers."""
        if not isinstance(site, _Fusion) or site.node.graph is None:
            return
        layer, old = site.layer, site.node.outputs[0]
        weight, bias = constant_tensor(layer.inputs[1]), constant_of(input_of(layer, 2))
        if weight is None:
            return
        replaced = [value for value in layer.inputs[1:3] if value is not None]
        beta = layer.attributes.get_float("beta", 1.0) if is_op(layer, "Gemm") else 1.0
        start = np.zeros(len(site.factor)) if bias is None else beta * bias.astype(np.float64).reshape(-1)
        new_bias = (start * site.factor + site.shift).astype(weight.dtype.numpy())
        stem = old.name or "batchnorm"
        inputs = [
            layer.inputs[0],
            add_constant(model, layer, _scaled(layer, weight, site.factor), f"{stem}.weight"),
            add_constant(model, layer, new_bias, f"{stem}.bias"),
        ]
        layer.resize_inputs(3)
        for index, value in enumerate(inputs):
            layer.replace_input_with(index, value)
        layer.attributes.pop("beta", None)
        take_over(layer.outputs[0], old)
        remove_dead(model, [site.node])
        remove_unread(model, replaced)


def _why_not(model: ir.Model, node: ir.Node, layer: ir.Node) -> str | None:
    opset = opset_of(model, node)
    if opset < 7:
        return f"opset {opset} has another BatchNormalization; convert the model to 7 or later first"
    if has_attribute_references(node) or has_attribute_references(layer):
        return "an attribute comes from the caller of its function"
    if attribute_int(node, "training_mode", 0) or any(value.uses() for value in node.outputs[1:]):
        return "it is in training mode: it uses the statistics of the batch"
    if opset < 9 and attribute_int(node, "spatial", 1) == 0:
        return "its statistics are per element (spatial=0), not per channel"
    for index, name in enumerate(("scale", "bias", "mean", "variance"), start=1):
        if constant_tensor(input_of(node, index)) is None:
            return f"its {name} is computed at run time"
    if constant_tensor(layer.inputs[1]) is None:
        return f"the weight of {label(layer)} is computed at run time"
    if input_of(layer, 2) is not None and constant_tensor(input_of(layer, 2)) is None:
        return f"the bias of {label(layer)} is computed at run time"
    if layer.graph is not node.graph:
        return f"{label(layer)} is in another graph"
    return used_elsewhere(layer.outputs[0], node)


def _why_not_numbers(layer: ir.Node, factor: Floats, shift: Floats) -> str | None:
    weight, bias = constant_tensor(layer.inputs[1]), constant_tensor(input_of(layer, 2))
    if weight is None:
        return "its weight is computed at run time"
    if not (np.isfinite(factor).all() and np.isfinite(shift).all()):
        return "variance plus epsilon is not positive everywhere"
    if _channels(layer, weight) != len(factor):
        return f"it has {len(factor)} channels, {label(layer)} makes {_channels(layer, weight)}"
    if bias is not None and not _is_per_channel(bias, len(factor)):
        return f"the bias of {label(layer)} has shape {list(bias.shape)}, not one value per channel"
    if weight.dtype == ir.DataType.FLOAT16:
        largest = np.abs(weight.numpy().astype(np.float64) * _rows(layer, weight, factor)).max(initial=0.0)
        if not max(largest, np.abs(shift).max(initial=0.0)) <= np.finfo(np.float16).max:
            return "the fused weight or bias exceeds the range of float16"
    return None


def _affine(node: ir.Node) -> tuple[Floats, Floats]:
    arrays = [constant_of(value) for value in node.inputs[1:5]]
    scale, bias, mean, variance = (np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        return factor, bias - mean * factor


def _channels(layer: ir.Node, weight: ir.TensorProtocol) -> int:
    sizes = [int(size) for size in weight.shape.numpy()]
    if is_op(layer, "Conv"):
        return sizes[0]
    if is_op(layer, "ConvTranspose"):
        return sizes[1] * attribute_int(layer, "group", 1)
    return sizes[0] if attribute_int(layer, "transB", 0) else sizes[1]


def _is_per_channel(bias: ir.TensorProtocol, channels: int) -> bool:
    sizes = [int(size) for size in bias.shape.numpy()]
    return bias.size == 1 or (sizes[-1:] == [channels] and bias.size == channels)


def _scaled(layer: ir.Node, weight: ir.TensorProtocol, factor: Floats) -> ir.LazyTensor:
    # Computed when it is written or read: the fused weights of a large model never lie in memory together.
    rows = _rows(layer, weight, factor)
    shape = ir.Shape([int(size) for size in weight.shape.numpy()])
    return ir.LazyTensor(lambda: ir.Tensor(_multiplied(weight, rows)), dtype=weight.dtype, shape=shape)


def _multiplied(weight: ir.TensorProtocol, rows: Floats) -> NDArray[np.generic]:
    array = weight.numpy()
    # In float64, piece by piece: no copy of the whole weight in that type.
    product = np.empty_like(array)
    np.multiply(array, rows, out=product, dtype=np.float64, casting="unsafe")
    return product


def _rows(layer: ir.Node, weight: ir.TensorProtocol, factor: Floats) -> Floats:
    """Return the factors in a shape that broadcasts over the weight."""
    sizes = [int(size) for size in weight.shape.numpy()]
    if is_op(layer, "Conv"):
        return factor.reshape(-1, *[1] * (len(sizes) - 1))
    if is_op(layer, "ConvTranspose"):  # [in, out / group, ...]: each group of inputs has its own outputs
        group = attribute_int(layer, "group", 1)
        per_input = factor.reshape(group, 1, sizes[1]).repeat(sizes[0] // group, axis=1)
        return per_input.reshape(sizes[0], sizes[1], *[1] * (len(sizes) - 2))
    return factor.reshape(-1, 1) if attribute_int(layer, "transB", 0) else factor.reshape(1, -1)
