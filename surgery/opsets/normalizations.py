"""Normalisations, dropout and Einsum: written out, or without the training they do not do."""

import onnx_ir as ir

from graphopt.surgery.decompositions.einsum import einsum, parse_equation, why_not
from graphopt.surgery.decompositions.normalizations import groupnorm, layernorm
from graphopt.surgery.decompositions.scalars import scalar
from graphopt.surgery.graph_queries import constant_of, is_unused
from graphopt.surgery.opsets.place import Blocked, Place, Rewrite, replacing
from graphopt.surgery.versioned_builder import VersionedBuilder

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def _float_only(place: Place) -> ir.DataType:
    dtype = place.dtype()
    if dtype not in _FLOATS:
        raise Blocked(f"its data is {dtype}, but its mean is computed in float32")
    return dtype


def _layernorm(place: Place) -> Rewrite | None:
    if not place.crosses(17):
        return None
    dtype, rank = _float_only(place), place.rank()
    return replacing(place.node, lambda new: layernorm(new, place.node, rank=rank, dtype=dtype))


def _groupnorm(place: Place) -> Rewrite | None:
    if not place.crosses(18):
        if place.crosses(21):
            raise Blocked("scale and bias have one value per group before opset 21; lower it below 18")
        return None
    dtype, shape = _float_only(place), place.shape()
    if any(size is None for size in shape[1:]):
        raise Blocked("the sizes of its data are not known; fix the shapes first")
    sizes = tuple(-1 if size is None else size for size in shape)

    def mine() -> VersionedBuilder:
        # Of the node's own opset, which says what scale and bias hold.
        return VersionedBuilder(place.model, place.node)

    return replacing(place.node, lambda _: groupnorm(mine(), place.node, shape=sizes, dtype=dtype))


def _rmsnorm(place: Place) -> Rewrite | None:
    if not place.crosses(23):
        return None
    node, dtype, rank = place.node, _float_only(place), place.rank()
    axes = list(range(place.integer("axis", -1) % rank - rank, 0))
    epsilon = node.attributes.get_float("epsilon", 1e-5)

    def write(new: VersionedBuilder) -> ir.Value:
        data = node.inputs[0]
        assert data is not None
        square = new.op("Mul", data, data, like=data)
        mean = new.reduce("ReduceMean", square, axes)
        root = new.op("Sqrt", new.op("Add", mean, scalar(new, epsilon, dtype, "epsilon")))
        return new.op("Mul", new.op("Div", data, root, like=data), node.inputs[1], like=data)

    return replacing(node, write)


def _batchnorm(place: Place) -> Rewrite | None:
    node = place.node
    if not place.crosses(14):
        return None
    if place.integer("training_mode", 0):
        raise Blocked("it is in training mode")
    types = {place.types.of(value).dtype for value in node.inputs} - {None}
    if len(types) > 1:
        raise Blocked("data and statistics have different dtypes")

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.attributes.pop("training_mode", None)

    return rewrite


def _dropout(place: Place) -> Rewrite | None:
    """Outside of training it does nothing; what its mask is then, old versions leave open."""
    node = place.node
    if not place.crosses(12):
        return None
    training, ratio = place.input(2), place.input(1)
    found = [constant_of(value) for value in (training, ratio)]
    if training is not None and (found[0] is None or bool(found[0].any())):
        raise Blocked("it is in training mode, or that is computed")
    if len(node.outputs) > 1 and not is_unused(node.outputs[1]):
        raise Blocked(f"its mask is read, and opset {place.to} does not say what it holds")
    share = 0.5 if found[1] is None else float(found[1].item())

    def rewrite(new: VersionedBuilder) -> None:
        del new
        node.resize_inputs(1)
        node.attributes.pop("seed", None)
        node.attributes["ratio"] = ir.AttrFloat32("ratio", share)

    return rewrite


def _einsum(place: Place) -> Rewrite | None:
    if not place.crosses(12):
        return None
    node = place.node
    equation = parse_equation(place.text("equation", ""))
    if isinstance(equation, str):
        raise Blocked(equation)
    shapes = [place.shape(index) for index in range(len(node.inputs))]
    reason = why_not(equation, shapes)
    if reason is not None:
        raise Blocked(reason)

    def write(new: VersionedBuilder) -> ir.Value:
        inputs = [value for value in node.inputs if value is not None]
        return einsum(new, inputs, equation, shapes)

    return replacing(node, write)


ADAPTERS = {
    "BatchNormalization": _batchnorm,
    "Dropout": _dropout,
    "Einsum": _einsum,
    "GroupNormalization": _groupnorm,
    "LayerNormalization": _layernorm,
    "RMSNormalization": _rmsnorm,
}
