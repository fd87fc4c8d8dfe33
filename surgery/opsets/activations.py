"""Activations and softmax: written out, or along the axes that the older version means."""

import onnx_ir as ir

from graphopt.surgery.decompositions.activations import gelu, hardswish, mish
from graphopt.surgery.decompositions.scalars import float_type, scalar
from graphopt.surgery.opsets.place import Place, Rewrite, replacing
from graphopt.surgery.versioned_builder import VersionedBuilder


def _gelu(place: Place) -> Rewrite | None:
    if not place.crosses(20):
        return None
    dtype = float_type(place.node, place.dtype())
    return replacing(place.node, lambda new: gelu(new, place.node, dtype))


def _hardswish(place: Place) -> Rewrite | None:
    return replacing(place.node, lambda new: hardswish(new, place.node)) if place.crosses(14) else None


def _mish(place: Place) -> Rewrite | None:
    return replacing(place.node, lambda new: mish(new, place.node)) if place.crosses(18) else None


def _swish(place: Place) -> Rewrite | None:
    if not place.crosses(24):
        return None
    node, alpha, dtype = place.node, place.node.attributes.get_float("alpha", 1.0), place.dtype()

    def write(new: VersionedBuilder) -> ir.Value:
        data = node.inputs[0]
        inner = data if alpha == 1 else new.op("Mul", data, scalar(new, alpha, dtype, "alpha"), like=data)
        return new.op("Mul", data, new.op("Sigmoid", inner, like=data), like=data)

    return replacing(node, write)


def _celu(place: Place) -> Rewrite | None:
    if not place.crosses(12):
        return None
    node, alpha, dtype = place.node, place.node.attributes.get_float("alpha", 1.0), place.dtype()

    def write(new: VersionedBuilder) -> ir.Value:
        data, factor = node.inputs[0], scalar(new, alpha, dtype, "alpha")
        scaled = new.op("Elu", new.op("Div", data, factor, like=data), like=data)
        return new.op("Mul", scaled, factor, like=data)

    return replacing(node, write)


def _softmax(place: Place) -> Rewrite | None:
    """Before opset 13 all axes from ``axis`` on are one: the axis is moved to the end."""
    if not place.crosses(13):
        return None
    node, axis = place.node, place.integer("axis", -1)
    rank = place.rank() if axis != -1 else None
    if rank is None or axis % rank == rank - 1:
        last = -1 if rank is None else rank - 1

        def rewrite(new: VersionedBuilder) -> None:
            del new
            node.attributes["axis"] = ir.AttrInt64("axis", last)

        return rewrite
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]

    def write(new: VersionedBuilder) -> ir.Value:
        turned = new.op("Transpose", node.inputs[0], attributes={"perm": order})
        found = new.op(node.op_type, turned, attributes={"axis": rank - 1})
        return new.op("Transpose", found, attributes={"perm": order}, like=node.outputs[0])

    return replacing(node, write)


ADAPTERS = {
    "Celu": _celu,
    "Gelu": _gelu,
    "HardSwish": _hardswish,
    "Hardmax": _softmax,
    "LogSoftmax": _softmax,
    "Mish": _mish,
    "Softmax": _softmax,
    "Swish": _swish,
}
