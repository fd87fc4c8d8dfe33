"""Compare and broadcast shapes whose sizes may be names or unknown."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from graphopt.surgery.shapes.shape_inference import Inferred

Shape = tuple[int | str | None, ...]
"""Sizes; a str is a name that stands for one and the same number wherever it appears, None is unknown."""


def shape_in(types: Mapping[ir.Value, Inferred], value: ir.Value | None) -> Shape | None:
    """Return the inferred shape of a value; None when its rank is unknown."""
    found = types.get(value) if value is not None else None
    return None if found is None else found.shape


def same_shape(left: Shape | None, right: Shape | None) -> bool:
    """Whether two shapes are known to be equal for every input."""
    return left is not None and left == right and None not in left


def broadcast_shape(shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape that numpy-style broadcasting makes; None when a rank is unknown."""
    known = [shape for shape in shapes if shape is not None]
    if len(known) != len(shapes) or not known:
        return None
    rank = max(map(len, known))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in known), strict=True)
    return tuple(_broadcast_size(set(column)) for column in columns)


def _broadcast_size(sizes: set[int | str | None]) -> int | str | None:
    fixed = {size for size in sizes if isinstance(size, int) and size != 1}
    if fixed:  # what is unknown must be this number or 1
        return fixed.pop() if len(fixed) == 1 else None
    rest = sizes - {1}
    if not rest:
        return 1
    return rest.pop() if len(rest) == 1 else None
