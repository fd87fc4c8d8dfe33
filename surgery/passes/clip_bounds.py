"""The pass ``clip_bounds``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_of,
    has_attribute_references,
    input_of,
    is_op,
    nodes_of,
    opset_of,
    used_elsewhere,
)
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_OTHER = {"Min": "Max", "Max": "Min"}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Missing(Site):
    """A ``Clip`` and the bounds to add, scalars of its dtype by input index."""

    bounds: Mapping[int, Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair(Site):
    """A ``Min`` behind a ``Max``, or the other way round."""

    inner: ir.Node
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True)
class ClipBounds(GraphPass):
    """Give every ``Clip`` both bounds, and write pairs of ``Min`` and ``Max`` as one ``Clip``.

    Why: parsers and kernels of targets want a lower and an upper bound; one node is faster than two.
    Before: ``Clip(x, min=0)``; ``x -> Max(lo) -> Min(hi)``.
    After: ``Clip(x, min=0, max=3.4e38)``, the dtype's largest number, which is the default the standard
    gives; ``Clip(x, lo, hi)``.
    Seen in: face_net.
    Known as: clip-bounds (26), one-sided clamp (S8).
    """

    name: ClassVar[str] = "clip_bounds"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Clip`` without a bound, and every pair; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "Clip", "Min", "Max"))
        types = infer_types(model) if found else {}
        for node in found:
            place = _missing(model, node, types) if node.op_type == "Clip" else _pair(model, node, types)
            if place is not None:
                yield place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Add the bounds, or write the one ``Clip``."""
        if site.node.graph is None:
            return
        if isinstance(site, _Missing):
            _add_bounds(model, site)
        elif isinstance(site, _Pair) and site.inner.graph is not None:
            # Asked for now: an earlier rewrite of the sweep may have replaced what the pair bounds.
            inner = _with_bound(site.inner)
            if inner is None:
                return
            new, output, source = NodeBuilder(model, site.node), site.node.outputs[0], inner[0]
            if opset_of(model, site.node) < 11:
                bounds = {"min": float(site.low), "max": float(site.high)}
                new.replace(new.op("Clip", source, attributes=bounds, like=output))
            else:
                low, high = new.constant(site.low, "min"), new.constant(site.high, "max")
                new.replace(new.op("Clip", source, low, high, like=output))


def _add_bounds(model: ir.Model, site: _Missing) -> None:
    node = site.node
    if opset_of(model, node) < 11:
        for index, bound in site.bounds.items():
            name = ("", "min", "max")[index]
            node.attributes[name] = ir.AttrFloat32(name, float(bound))
        return
    node.resize_inputs(3)
    for index, bound in site.bounds.items():
        stem = f"{node.outputs[0].name or 'clip'}.{('', 'min', 'max')[index]}"
        node.replace_input_with(index, add_constant(model, node, bound, stem))


def _missing(model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> Site | Declined | None:
    if opset_of(model, node) < 11:
        absent = [index for index, name in ((1, "min"), (2, "max")) if name not in node.attributes]
        dtype: ir.DataType | None = ir.DataType.FLOAT
    else:
        absent = [index for index in (1, 2) if input_of(node, index) is None]
        dtype = _dtype_of(node, types)
    if not absent:
        return None
    limits = None if dtype is None else _limits(dtype)
    if limits is None:
        return Declined(node=node, why="the dtype of its input is not known, or has no largest number")
    bounds = {index: limits[index - 1] for index in absent}
    names = " and ".join(("min", "max")[index - 1] for index in absent)
    return _Missing(node=node, what=f"{names} added", bounds=bounds)


def _dtype_of(node: ir.Node, types: Mapping[ir.Value, Inferred]) -> ir.DataType | None:
    for value in node.inputs:
        known = types.get(value) if value is not None else None
        if known is not None and known.dtype is not None:
            return known.dtype
        bound = constant_of(value) if value is not node.inputs[0] else None
        if bound is not None:
            return ir.DataType.from_numpy(bound.dtype)
    return None


def _limits(dtype: ir.DataType) -> tuple[Array, Array] | None:
    if dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        floats = np.finfo(dtype.numpy())
        return np.array(floats.min, dtype.numpy()), np.array(floats.max, dtype.numpy())
    if dtype.is_integer() and dtype.bitwidth >= 8:
        integers = np.iinfo(dtype.numpy())
        return np.array(integers.min, dtype.numpy()), np.array(integers.max, dtype.numpy())
    return None


def _pair(model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> Site | Declined | None:
    """Look for the pair whose outer node is ``node``."""
    outer = _with_bound(node)
    inner_node = None if outer is None else outer[0].producer()
    if outer is None or inner_node is None or not is_op(inner_node, _OTHER[node.op_type]):
        return None
    inner = _with_bound(inner_node)
    if inner is None:
        return None
    source, (inner_bound, outer_bound) = inner[0], (inner[1], outer[1])
    low, high = (outer_bound, inner_bound) if node.op_type == "Max" else (inner_bound, outer_bound)
    reason = used_elsewhere(outer[0], node) or _why_no_clip(model, node, source, low, high, types)
    if reason is not None:
        return Declined(node=node, why=reason)
    low, high = low.reshape(()), high.reshape(())
    return _Pair(node=node, what=f"one Clip to {low} .. {high}", inner=inner_node, low=low, high=high)


def _with_bound(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """Return what a ``Min`` or ``Max`` bounds and the single number it bounds it by."""
    if len(node.inputs) != 2 or has_attribute_references(node):
        return None
    for index in (1, 0):
        array, source = constant_of(node.inputs[index]), node.inputs[1 - index]
        if array is not None and array.size == 1 and source is not None:
            return source, array
    return None


def _why_no_clip(
    model: ir.Model,
    node: ir.Node,
    source: ir.Value,
    low: Array,
    high: Array,
    types: Mapping[ir.Value, Inferred],
) -> str | None:
    if not bool(low.reshape(-1)[0] <= high.reshape(-1)[0]):
        return f"its bounds {low.reshape(-1)[0]} and {high.reshape(-1)[0]} cross, or are no numbers"
    opset = opset_of(model, node)
    if low.dtype.kind != "f" and opset < 12:
        return f"Clip of opset {opset} has no integers"
    if opset < 11 and low.dtype != np.float32:
        return f"Clip of opset {opset} has its bounds in float32"
    known = types.get(source)
    rank = len(known.shape) if known is not None and known.shape is not None else 0
    if max(low.ndim, high.ndim) > rank:
        return "its bounds may have a higher rank than what they bound"
    return None
