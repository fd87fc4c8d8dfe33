"""The pass ``canonical_layernorm``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.decompositions.scalars import scalar
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    input_of,
    ints_of,
    is_op,
    nodes_of,
    opset_of,
    used_elsewhere,
)
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found(Site):
    """A normalisation that ends in ``node``.

    Attributes:
        data: what is normalised.
        axes: over which, negative.
        epsilon: added to the variance.
        dtype: of the data.
    """

    data: ir.Value
    axes: tuple[int, ...]
    epsilon: float
    dtype: ir.DataType


@dataclass(frozen=True, kw_only=True)
class CanonicalLayernorm(GraphPass):
    """Write layer normalisations in the one form that compilers fuse.

    Why: ATC fuses ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div into one LayerNorm kernel; with
    a second Sub, a product in place of Pow, or swapped operands it does not.
    Before: ``m = ReduceMean(x); d = x - m; v = ReduceMean((x - m) * (x - m)); d / Sqrt(eps + v)``.
    After: ``m = ReduceMean(x); d = x - m; v = ReduceMean(Pow(d, 2)); d / Sqrt(v + eps)``.
    Seen in: custom_layernorm.
    Known as: layernorm-pattern (16).
    """

    name: ClassVar[str] = "canonical_layernorm"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every written-out normalisation of another form; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Div"):
            found = _match(model, node)
            if found is None:
                continue
            data, axes, epsilon, inner, odd = found
            if not odd:
                continue
            dtype = types.of(data).dtype
            if dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16):
                yield Declined(node=node, why="the dtype of its data is not known")
            elif (reason := _read_outside(inner, node)) is not None:
                yield Declined(node=node, why=reason)
            else:
                what = f"{', '.join(odd)} become the form that is fused"
                yield _Found(node=node, what=what, data=data, axes=axes, epsilon=epsilon, dtype=dtype)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the seven operators anew."""
        if not isinstance(site, _Found):
            return
        new = VersionedBuilder(model, site.node)
        mean = new.reduce("ReduceMean", site.data, site.axes)
        centred = new.op("Sub", site.data, mean, like=site.data)
        square = new.op("Pow", centred, scalar(new, 2.0, site.dtype, "two"), like=site.data)
        variance = new.reduce("ReduceMean", square, site.axes)
        shifted = new.op("Add", variance, scalar(new, site.epsilon, site.dtype, "epsilon"))
        new.replace(new.op("Div", centred, new.op("Sqrt", shifted), like=site.data))


_Match = tuple[ir.Value, tuple[int, ...], float, list[ir.Node], list[str]]
"""Data, axes, epsilon, the nodes between data and Div, and what is unusual about them."""


def _match(model: ir.Model, node: ir.Node) -> _Match | None:
    centred, root = _producer(node.inputs[0]), _producer(node.inputs[1])
    if not is_op(centred, "Sub") or not is_op(root, "Sqrt"):
        return None
    assert centred is not None
    assert root is not None
    added = _producer(root.inputs[0])
    if not is_op(added, "Add"):
        return None
    assert added is not None
    position = next((i for i in (1, 0) if _number(added.inputs[i]) is not None), None)
    epsilon = None if position is None else _number(added.inputs[position])
    variance = None if position is None else _producer(added.inputs[1 - position])
    if epsilon is None or not is_op(variance, "ReduceMean"):
        return None
    assert variance is not None
    square = _producer(variance.inputs[0])
    base = _squared(square)
    if square is None or base is None:
        return None
    other = _producer(base)
    mean = _producer(centred.inputs[1])
    if not is_op(mean, "ReduceMean") or not is_op(other, "Sub"):
        return None
    assert mean is not None
    assert other is not None
    data = mean.inputs[0]
    second_mean = _producer(other.inputs[1])
    if data is None or centred.inputs[0] is not data or other.inputs[0] is not data:
        return None
    axes = _axes(model, mean)
    if axes is None or axes != _axes(model, variance) or not _same_mean(model, mean, second_mean):
        return None
    odd = []
    if other is not centred:
        odd.append("a second Sub")
    if square.op_type == "Mul":
        odd.append("Mul in place of Pow")
    if position == 0:
        odd.append("swapped operands of Add")
    inner = [centred, root, added, variance, square, other, mean, *([second_mean] if second_mean else [])]
    return data, axes, epsilon, list(dict.fromkeys(inner)), odd


def _read_outside(inner: list[ir.Node], node: ir.Node) -> str | None:
    """Return who else reads a value in between, which would have to be computed twice then."""
    allowed = {*inner, node}
    for step in inner:
        value = step.outputs[0]
        if step.graph is not node.graph:
            return f"{value.name} is in another graph"
        if value.is_graph_output():
            return used_elsewhere(value, node)
        other = next((user for user, _ in value.uses() if user not in allowed), None)
        if other is not None:
            return f"{value.name} is also read by {other.op_type} {other.name}"
    return None


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def _squared(node: ir.Node | None) -> ir.Value | None:
    """Return what a node squares."""
    if is_op(node, "Mul") and node is not None and node.inputs[0] is node.inputs[1]:
        return node.inputs[0]
    if is_op(node, "Pow") and node is not None and _number(node.inputs[1]) == 2.0:
        return node.inputs[0]
    return None


def _same_mean(model: ir.Model, first: ir.Node, second: ir.Node | None) -> bool:
    if second is first:
        return True
    same = is_op(second, "ReduceMean") and second is not None and second.inputs[0] is first.inputs[0]
    return same and second is not None and _axes(model, second) == _axes(model, first)


def _axes(model: ir.Model, node: ir.Node) -> tuple[int, ...] | None:
    """Return the reduced axes; None when they are unknown, positive, or vanish."""
    if not attribute_int(node, "keepdims", 1):
        return None
    if opset_of(model, node) >= 18:
        given = ints_of(input_of(node, 1))
    else:
        held = node.attributes.get("axes")
        given = None if held is None or held.is_ref() else list(held.as_ints())
    return tuple(sorted(given)) if given else None


def _number(value: ir.Value | None) -> float | None:
    array = constant_of(value)
    return float(array.ravel()[0]) if array is not None and array.size == 1 and np.ndim(array) <= 1 else None
