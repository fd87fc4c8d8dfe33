"""What a ``Resize`` node does, whatever its opset: mode, scales and sizes of all axes."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_tensor, has_attribute_references, input_of, ints_of
from graphopt.surgery.shapes.shape_inference import Inferred

_Number = TypeVar("_Number", int, float)

TO_SIZE_ONLY = ("align_corners",)
"""Coordinate modes that look at the two sizes and never at the scales."""


@dataclass(frozen=True, kw_only=True)
class ResizeAttributes:
    """The attributes that decide which elements are mixed.

    Attributes:
        mode: ``nearest``, ``linear`` or ``cubic``.
        coordinates: how a place in the output is found in the input.
        nearest: how ``nearest`` rounds.
        antialias: whether shrinking looks at more elements.
    """

    mode: str
    coordinates: str
    nearest: str
    antialias: bool


def resize_attributes(node: ir.Node) -> ResizeAttributes | str:
    """Return a node's attributes with their defaults (opset 11 or later), or why they are not known."""
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        return f"keep_aspect_ratio_policy is {policy}"
    return ResizeAttributes(
        mode=node.attributes.get_string("mode", "nearest"),
        coordinates=node.attributes.get_string("coordinate_transformation_mode", "half_pixel"),
        nearest=node.attributes.get_string("nearest_mode", "round_prefer_floor"),
        antialias=bool(node.attributes.get_int("antialias", 0)),
    )


def is_given(value: ir.Value | None) -> bool:
    """Whether an optional input is there: neither left out nor, as opset 11 wants it, empty."""
    if value is None:
        return False
    tensor = constant_tensor(value)
    return tensor is None or tensor.size != 0


def constant_scales(node: ir.Node, rank: int) -> list[float] | None:
    """Return the scales of all axes where they are constant, else None."""
    tensor = constant_tensor(input_of(node, 2)) if is_given(input_of(node, 2)) else None
    if tensor is None:
        return None
    return _all_axes(node, [float(item) for item in tensor.numpy().ravel()], [1.0] * rank)


def constant_sizes(node: ir.Node, known: Inferred) -> list[int] | None:
    """Return the sizes of all axes where they are constant and the other axes known, else None."""
    sizes = ints_of(input_of(node, 3)) if is_given(input_of(node, 3)) else None
    if sizes is None or known.shape is None:
        return None
    if node.attributes.get("axes") is None:
        return sizes
    own = [size if isinstance(size, int) else -1 for size in known.shape]
    full = _all_axes(node, sizes, own)
    return None if full is None or -1 in full else full


def scales_between(before: tuple[int, ...], after: list[int]) -> list[float]:
    """Return the scales that onnxruntime derives from two shapes: quotients in float32."""
    return [float(np.float32(new) / np.float32(old)) for old, new in zip(before, after, strict=True)]


def resized(before: tuple[int, ...], scales: list[float]) -> list[int]:
    """Return the shape that scales lead to; the product is rounded to float32, then down."""
    return [int(np.float32(size) * np.float32(scale)) for size, scale in zip(before, scales, strict=True)]


def leading_scales(
    before: tuple[int, ...], after: list[int], attributes: ResizeAttributes
) -> list[float] | None:
    """Return float32 scales that lead from one shape to another for every reader, else None.

    onnxruntime rounds the product of size and scale to float32 before it rounds down; ONNX's inference and
    others do not, and find 22 for 12 times 23 / 12. The next larger number does for both, where the same
    elements are taken with it.
    """
    found = []
    for old, new, scale in zip(before, after, scales_between(before, after), strict=True):
        for number in (scale, float(np.nextafter(np.float32(scale), np.float32(np.inf)))):
            if resized((old,), [number]) == [new] == [int(old * number)] and (
                number == scale or _takes_the_same(new, scale, number, attributes)
            ):
                found.append(number)
                break
        else:
            return None
    return found


def _takes_the_same(size: int, scale: float, other: float, attributes: ResizeAttributes) -> bool:
    """Whether two nearly equal scales give the same numbers to the last bit, as far as that is known here."""
    if attributes.coordinates in TO_SIZE_ONLY:
        return True
    if (attributes.mode, attributes.coordinates, attributes.nearest) != ("nearest", "asymmetric", "floor"):
        return False
    places = np.arange(size, dtype=np.float32)
    one, two = (np.floor(places / np.float32(number)) for number in (scale, other))
    return bool(np.array_equal(one, two))


def _all_axes(node: ir.Node, given: list[_Number], rest: list[_Number]) -> list[_Number] | None:
    attribute = node.attributes.get("axes")
    if attribute is None:
        return given if len(given) == len(rest) else None
    full = list(rest)
    for axis, item in zip(attribute.as_ints(), given, strict=True):
        full[axis % len(rest)] = item
    return full
