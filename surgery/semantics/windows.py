"""The sliding window of convolutions and pools, with its defaults and ``auto_pad`` worked out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
    opset_of,
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """What slides over the spatial axes; one entry per axis.

    Attributes:
        kernel: taps.
        strides: steps between outputs.
        dilations: steps between taps.
        begins: elements of padding in front; may be negative for a window that starts inside.
        ends: elements of padding behind.
        ceil_mode: whether a last, partial window counts.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def rank(self) -> int:
        """How many spatial axes there are."""
        return len(self.kernel)

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.begins) or any(self.ends)

    @property
    def reach(self) -> tuple[int, ...]:
        """How many input elements lie under the window, gaps included."""
        return tuple((taps - 1) * step + 1 for taps, step in zip(self.kernel, self.dilations, strict=True))

    def output(self, axis: int, size: int) -> int:
        """Return the output size for an input of ``size`` along ``axis``, rounded down."""
        room = size + self.begins[axis] + self.ends[axis] - self.reach[axis]
        return room // self.strides[axis] + 1

    def fits(self, sizes: Sequence[int | str | None] | None) -> bool:
        """Whether the window fits the padded input along every axis, as far as sizes are known."""
        return sizes is None or all(
            not isinstance(size, int) or self.reach[axis] <= size + self.begins[axis] + self.ends[axis]
            for axis, size in enumerate(sizes)
        )

    def padded(self, begins: Sequence[int], ends: Sequence[int]) -> "Window":
        """Return the window with other padding."""
        return replace(self, begins=tuple(begins), ends=tuple(ends))

    def attributes(self, op_type: str) -> dict[str, Any]:
        """Return the attributes that spell this window, without defaults that old opsets lack."""
        spelled: dict[str, Any] = {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "pads": [*self.begins, *self.ends],
        }
        if op_type in ("Conv", "ConvTranspose") or set(self.dilations) != {1}:
            spelled["dilations"] = list(self.dilations)
        if self.ceil_mode:
            spelled["ceil_mode"] = 1
        return spelled


def window_of(node: ir.Node, sizes: Sequence[int | str | None] | None = None) -> Window | str:
    """Return the window of a ``Conv``, ``MaxPool``, ``AveragePool`` or ``LpPool``, or why it is not known.

    Args:
        node: the operator.
        sizes: its input's spatial sizes, needed only where ``auto_pad`` is SAME.
    """
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    kernel = _ints(node, "kernel_shape") or _kernel_of_weight(node)
    if kernel is None:
        return "the shape of its kernel is not known"
    ones = (1,) * len(kernel)
    pads = _ints(node, "pads") or (0,) * (2 * len(kernel))
    auto = _text(node, "auto_pad", "NOTSET")
    window = Window(
        kernel=kernel,
        strides=_ints(node, "strides") or ones,
        dilations=_ints(node, "dilations") or ones,
        begins=pads[: len(kernel)] if auto == "NOTSET" else (0,) * len(kernel),
        ends=pads[len(kernel) :] if auto == "NOTSET" else (0,) * len(kernel),
        ceil_mode=bool(attribute_int(node, "ceil_mode", 0)),
    )
    if auto in ("NOTSET", "VALID"):
        return window
    if sizes is None or not all(isinstance(size, int) for size in sizes):
        return f"its auto_pad is {auto} and the size of its input is not known; run static_shapes first"
    return _resolved(window, [size for size in sizes if isinstance(size, int)], upper=auto == "SAME_UPPER")


def set_window(node: ir.Node, window: Window) -> None:
    """Write a window into a node's attributes, ``auto_pad`` gone."""
    node.attributes.pop("auto_pad", None)
    for name, value in window.attributes(node.op_type).items():
        node.attributes[name] = ir.convenience.convert_attribute(name, value)


def pads_of(model: ir.Model, node: ir.Node, rank: int | None = None) -> list[int] | None:
    """Return the pads of a ``Pad`` for all axes (all beginnings, then all ends); None when not constant.

    Args:
        model: the model that holds ``node``.
        node: the ``Pad``.
        rank: of its input; needed only where it names axes (opset 18).
    """
    opset = opset_of(model, node)
    if opset < 11:
        attribute = node.attributes.get("pads" if opset >= 2 else "paddings")
        if attribute is None or attribute.is_ref():
            return None
        return [int(pad) for pad in attribute.as_ints()]
    pads = ints_of(input_of(node, 1))
    if pads is None or input_of(node, 3) is None:
        return pads
    axes = ints_of(input_of(node, 3))
    if axes is None or rank is None:
        return None
    full = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        full[axis % rank] = pads[index]
        full[axis % rank + rank] = pads[index + len(axes)]
    return full


def pad_value_of(model: ir.Model, node: ir.Node) -> float | None:
    """Return the number that a constant ``Pad`` pads with; None when it is computed at run time."""
    if opset_of(model, node) < 11:
        return node.attributes.get_float("value", 0.0)
    value = input_of(node, 2)
    if value is None:
        return 0.0
    tensor = constant_tensor(value)
    return None if tensor is None else float(tensor.numpy().reshape(-1)[0])


def pad_mode_of(node: ir.Node) -> str:
    """Return the mode of a ``Pad``."""
    return _text(node, "mode", "constant")


def _resolved(window: Window, sizes: Sequence[int], *, upper: bool) -> Window:
    begins, ends = [], []
    for axis, size in enumerate(sizes):
        outputs = -(-size // window.strides[axis])
        total = max(0, (outputs - 1) * window.strides[axis] + window.reach[axis] - size)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return window.padded(begins, ends)


def _kernel_of_weight(node: ir.Node) -> tuple[int, ...] | None:
    weight = constant_tensor(input_of(node, 1)) if is_op(node, "Conv", "ConvTranspose") else None
    return None if weight is None else tuple(int(size) for size in weight.shape.numpy()[2:])


def _ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(int(item) for item in attribute.as_ints())


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes.get_string(name, default)
