"""``Resize`` by whole factors, in which each element is repeated: how it is spelled best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_edits import add_constant, bypass, remove_unread, why_not_bypassed
from graphopt.surgery.graph_queries import constant_tensor, has_attribute_references, input_of, opset_of
from graphopt.surgery.semantics.resize_sizes import (
    ResizeAttributes,
    constant_scales,
    is_given,
    resize_attributes,
)
from graphopt.surgery.shapes.known_sizes import KnownSizes

_FIRST_WITH_MODES = 11
SPELLINGS: Mapping[str, tuple[str, str]] = {
    "asymmetric": ("asymmetric", "floor"),
    "half_pixel": ("half_pixel", "round_prefer_ceil"),
}
"""Coordinates and rounding under which whole factors repeat. The first is PyTorch's, and published ports run
with it; of the second no place lies between two elements, so that it holds however a target rounds."""
_HALF = Fraction(1, 2)
_ROUND: Mapping[str, Callable[[Fraction], int]] = {
    "floor": floor,
    "ceil": ceil,
    "round_prefer_floor": lambda place: ceil(place - _HALF),
    "round_prefer_ceil": lambda place: floor(place + _HALF),
}


@dataclass(frozen=True, kw_only=True)
class Repeating:
    """A ``Resize`` that repeats elements and can be spelled better.

    Attributes:
        node: the ``Resize``.
        factors: whole, one per axis.
        spelling: coordinates and rounding.
    """

    node: ir.Node
    factors: tuple[int, ...]
    spelling: tuple[str, str]

    @property
    def what(self) -> str:
        """The change in words."""
        if set(self.factors) == {1}:
            return "a Resize to the same size goes"
        return f"Resize by constant scales {list(self.factors)}"

    def apply(self, model: ir.Model) -> None:
        """Give the node constant scales, or remove it when it changes no size."""
        node = self.node
        if node.graph is None:
            return
        if set(self.factors) == {1}:
            bypass(model, node)
            return
        stem = node.outputs[0].name or "resize"
        old = [value for value in node.inputs[1:] if value is not None]
        roi = add_constant(model, node, np.zeros(0, dtype=np.float32), f"{stem}.roi")
        scales = add_constant(model, node, np.array(self.factors, dtype=np.float32), f"{stem}.scales")
        node.resize_inputs(3)
        node.replace_input_with(1, roi)
        node.replace_input_with(2, scales)
        node.attributes.pop("axes", None)
        for name, text in zip(("coordinate_transformation_mode", "nearest_mode"), self.spelling, strict=True):
            node.attributes[name] = ir.AttrString(name, text)
        remove_unread(model, old)


def plan_enlarging(
    model: ir.Model, node: ir.Node, sizes: KnownSizes, spelling: tuple[str, str]
) -> Repeating | str | None:
    """Say how a ``Resize`` to a known size is spelled better; None when it is well spelled.

    Args:
        model: is not changed.
        node: a ``Resize``.
        sizes: what is known of the model.
        spelling: coordinates and rounding that are wanted, from ``SPELLINGS``.

    Returns:
        The change, or why there is none (a clause).
    """
    if opset_of(model, node) < _FIRST_WITH_MODES:
        return f"opset {opset_of(model, node)} has no other spelling; convert the model to 11 or later first"
    attributes = resize_attributes(node)
    if isinstance(attributes, str):
        return attributes
    before, after = sizes.shape(node.inputs[0]), sizes.shape(node.outputs[0])
    if attributes.coordinates == "tf_crop_and_resize":
        return "tf_crop_and_resize scales what it cuts out"
    if before is None or after is None or 0 in before:
        return _unknown(node, sizes)
    factors: list[int] = []
    scales = constant_scales(node, len(before)) or [0.0] * len(before)
    for old, new, scale in zip(before, after, scales, strict=True):
        if isinstance(old, int) and isinstance(new, int):
            if new % old:
                return (
                    f"{old} to {new} is no whole ratio; static_shapes and normalize_resize make it constant"
                )
            factors.append(new // old)
        elif (old is not None and old == new) or scale == 1.0:  # a batch of any size
            factors.append(1)
        else:
            return _unknown(node, sizes)
    repeating = all(
        times == 1 or (isinstance(old, int) and _repeats(attributes, old, times))
        for old, times in zip(before, factors, strict=True)
    )
    if not repeating:
        how = f"{attributes.coordinates} and {attributes.nearest}"
        return f"nearest with {how} does not repeat evenly by {factors}"
    change = Repeating(node=node, factors=tuple(factors), spelling=spelling)
    if set(factors) == {1}:
        return why_not_bypassed(node) or change
    if (attributes.coordinates, attributes.nearest) == spelling and _is_told_by_scales(node, factors):
        return None
    return change


def _unknown(node: ir.Node, sizes: KnownSizes) -> str:
    known = f"{sizes.text(node.inputs[0])} to {sizes.text(node.outputs[0])}"
    return f"its sizes are not known: {known}; fix the input with static_shapes:shapes=NAME=1x3x..."


def _is_told_by_scales(node: ir.Node, factors: list[int]) -> bool:
    roi = constant_tensor(input_of(node, 1))
    return (
        not has_attribute_references(node)
        and len(node.inputs) == 3
        and roi is not None
        and roi.size == 0
        and is_given(input_of(node, 2))
        and constant_scales(node, len(factors)) == [float(times) for times in factors]
        and node.attributes.get("axes") is None
    )


def _repeats(attributes: ResizeAttributes, size: int, times: int) -> bool:
    """Whether each of ``size`` elements comes out ``times`` times, in order."""
    total = size * times
    round_place = _ROUND[attributes.nearest]
    for index in range(total):
        chosen = round_place(_place(attributes.coordinates, index, size, total))
        if min(max(chosen, 0), size - 1) != index // times:
            return False
    return True


def _place(coordinates: str, index: int, size: int, total: int) -> Fraction:
    """Return where element ``index`` of the output lies in the input."""
    if coordinates == "align_corners":
        return Fraction(index * (size - 1), total - 1)
    if coordinates == "asymmetric":
        return Fraction(index * size, total)
    if coordinates == "tf_half_pixel_for_nn":
        return (index + _HALF) * size / total
    return (
        index + _HALF
    ) * size / total - _HALF  # half_pixel and its two variants: outputs are larger than 1
