"""Operators whose axes and sizes became inputs: Squeeze, Unsqueeze, Split, the reductions, Trilu, Shape."""

import numpy as np
import onnx_ir as ir

from graphopt.surgery.opsets.place import (
    Blocked,
    Place,
    Rewrite,
    axes_to_attribute,
    replacing,
)
from graphopt.surgery.versioned_builder import VersionedBuilder

_IDENTITY_WITHOUT_AXES = frozenset(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"))


def _moved_axes(place: Place) -> Rewrite | None:
    return axes_to_attribute(place) if place.crosses(13) else None


def _reduce(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(13 if node.op_type == "ReduceSum" else 18):
        return None
    axes = place.ints(1, "axes")
    if not axes and place.integer("noop_with_empty_axes", 0):
        if node.op_type not in _IDENTITY_WITHOUT_AXES:
            raise Blocked("it reduces over no axis (noop_with_empty_axes), and is no Identity then")
        return replacing(node, lambda new: new.op("Identity", node.inputs[0]))
    if place.dtype() == ir.DataType.BOOL:
        return _reduce_bool(place, axes)
    _check_dtype(place)
    move = axes_to_attribute(place)

    def rewrite(new: VersionedBuilder) -> None:
        move(new)
        node.attributes.pop("noop_with_empty_axes", None)
        if not axes:
            node.attributes.pop("axes", None)

    return rewrite


def _check_dtype(place: Place) -> None:
    dtype = place.dtype()
    small = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.BFLOAT16)
    if dtype in small and place.to < 12:
        raise Blocked(f"it takes no {dtype} in opset {place.to}")


def _reduce_bool(place: Place, axes: list[int] | None) -> Rewrite:
    node = place.node
    attributes: dict[str, int | list[int]] = {"keepdims": place.integer("keepdims", 1)}
    if axes:
        attributes["axes"] = axes

    def write(new: VersionedBuilder) -> ir.Value:
        wide = new.op("Cast", node.inputs[0], attributes={"to": ir.DataType.INT32.value})
        found = new.op(node.op_type, wide, attributes=dict(attributes))
        return new.op("Cast", found, attributes={"to": ir.DataType.BOOL.value})

    return replacing(node, write)


def _split(place: Place) -> Rewrite | None:
    if not place.crosses(13) and not place.crosses(18):
        return None
    node, count = place.node, len(place.node.outputs)
    sizes = place.ints(1, "sizes")
    if sizes is None:
        shape = place.shape()
        total = shape[place.integer("axis", 0) % len(shape)]
        if total is None:
            raise Blocked("it splits an axis of unknown size without saying how; fix the shapes first")
        part = -(-total // count)
        sizes = [*[part] * (count - 1), total - part * (count - 1)]

    def rewrite(new: VersionedBuilder) -> None:
        node.attributes.pop("num_outputs", None)
        if place.to < 13:
            node.resize_inputs(1)
            node.attributes["split"] = ir.AttrInt64s("split", sizes)
        else:
            node.resize_inputs(2)
            node.replace_input_with(1, new.constant(np.array(sizes, dtype=np.int64), "split"))

    return rewrite


def _trilu(place: Place) -> Rewrite | None:
    if not place.crosses(14):
        return None
    node, upper, dtype = place.node, place.integer("upper", 1), place.dtype()
    height, width = place.shape()[-2:]
    if height is None or width is None:
        raise Blocked("the sizes of its matrix are not known; fix the shapes first")
    diagonal = (place.ints(1, "diagonal") or [0])[0]
    full = np.ones((height, width), dtype=np.bool_)
    mask = np.triu(full, diagonal) if upper else np.tril(full, diagonal)

    def write(new: VersionedBuilder) -> ir.Value:
        nothing = new.constant(np.zeros((), dtype=dtype.numpy()), "zero")
        return new.op("Where", new.constant(mask, "mask"), node.inputs[0], nothing, like=node.outputs[0])

    return replacing(node, write)


def _shape(place: Place) -> Rewrite | None:
    node = place.node
    start, end = place.integer("start", 0), node.attributes.get("end")
    if not place.crosses(15) or (start == 0 and end is None):
        return None
    stop = np.iinfo(np.int64).max if end is None else end.as_int()

    def write(new: VersionedBuilder) -> ir.Value:
        whole = new.op("Shape", node.inputs[0])
        bounds = [new.constant(np.array([bound], dtype=np.int64), "bound") for bound in (start, stop, 0)]
        return new.op("Slice", whole, *bounds, like=node.outputs[0])

    return replacing(node, write)


def _reshape(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(14) or not place.integer("allowzero", 0):
        return None
    if 0 in (place.ints(1, "sizes") or []):
        raise Blocked(f"allowzero makes an axis without elements, which opset {place.to} cannot say")

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.attributes.pop("allowzero")  # it says nothing where no size is zero

    return rewrite


ADAPTERS = {
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _moved_axes),
    **dict.fromkeys(
        (f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod")),
        _reduce,
    ),
    "ReduceSum": _reduce,
    "ReduceSumSquare": _reduce,
    "Reshape": _reshape,
    "Shape": _shape,
    "Split": _split,
    "Trilu": _trilu,
}
