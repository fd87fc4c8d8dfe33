"""Read element-wise arithmetic with a constant as a scale and a shift per channel."""

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import constant_of
from graphopt.surgery.semantics.affine_layers import Floats


def channel_affine(node: ir.Node, data: ir.Value, channels: int, rank: int) -> tuple[Floats, Floats] | str:
    """Return factor and shift, each [channels], with which ``node`` changes ``data``, or why it has none.

    Args:
        node: ``Add``, ``Sub``, ``Mul`` or ``Div``.
        data: the operand that is not constant; channels are its axis 1.
        channels: how many it has.
        rank: of ``data``.
    """
    first = node.inputs[0] is data
    array = constant_of(node.inputs[1 if first else 0])
    if array is None:
        return "its other operand is computed at run time"
    numbers = per_channel(array, channels, rank)
    if numbers is None:
        return f"its constant of shape {list(array.shape)} is not one number per channel"
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _affine(node.op_type, numbers, first=first)
    if found is None:
        return "it divides by the tensor"
    if not all(bool(np.isfinite(item).all()) for item in found):
        return "its constant is zero or not finite"
    return found


def per_channel(array: Array, channels: int, rank: int) -> Floats | None:
    """Return one number per channel where broadcasting ``array`` over a tensor means that, else None.

    Args:
        array: the constant.
        channels: size of axis 1 of the tensor.
        rank: of the tensor; a constant of higher rank changes its shape.
    """
    if array.dtype.kind != "f" or array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (channels,)).copy()


def _affine(op_type: str, numbers: Floats, *, first: bool) -> tuple[Floats, Floats] | None:
    one, zero = np.ones_like(numbers), np.zeros_like(numbers)
    if op_type == "Add":
        return one, numbers
    if op_type == "Sub":
        return (one, -numbers) if first else (-one, numbers)
    if op_type == "Mul":
        return numbers, zero
    return (1.0 / numbers, zero) if first else None
