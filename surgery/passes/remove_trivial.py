"""The pass ``remove_trivial``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_of,
    has_attribute_references,
    input_of,
    ints_of,
    nodes_of,
    opset_of,
)
from graphopt.surgery.shapes.broadcasting import Shape, same_shape, shape_in
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

_NEUTRAL = {
    "Add": (0, (0, 1)), "Sub": (0, (1,)), "Mul": (1, (0, 1)), "Div": (1, (1,)), "Pow": (1, (1,)),
    "And": (1, (0, 1)), "Or": (0, (0, 1)), "Xor": (0, (0, 1)),
}  # fmt: skip
"""Operator -> the value that changes nothing, and the inputs where it changes nothing."""
_SINGLE = ("Concat", "Max", "Mean", "Min", "Sum")
_REDUCING = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_POOLING = ("GlobalAveragePool", "GlobalMaxPool")
_AXES_ARE_INPUT = {"ReduceSum": 13}
"""Opset from which on the axes are an input; 18 for the others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Nothing(Site):
    """A node whose first output is its input number ``index``."""

    index: int


@dataclass(frozen=True, kw_only=True)
class RemoveTrivial(GraphPass):
    """Remove arithmetic, splits and reductions that cannot change anything.

    Why: code written for any number of branches, any scale and any offset is exported with one branch,
    scale 1 and offset 0; some compilers refuse a Split with a single output.
    Before: ``x -> Split(into 1) -> Mul(1) -> Add(0) -> ReduceSum(over an axis of size 1) -> Relu``.
    After: ``x -> Relu``; also Div and Pow by 1, And, Or, Xor and Where with a constant that decides,
    Concat, Max, Mean, Min and Sum of one tensor, global pools of a single element.
    Seen in: masked_attention, nas_fpn.
    Known as: single-output-split (27), big-constant cleanup (43).
    """

    name: ClassVar[str] = "remove_trivial"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield what changes nothing; see ``GraphPass.sites``."""
        nodes = [
            node
            for node in nodes_of(model, *_NEUTRAL, *_SINGLE, *_REDUCING, *_POOLING, "Split", "Where")
            if not has_attribute_references(node)
        ]
        types: Mapping[ir.Value, Inferred] | None = None
        for node in nodes:
            found = _candidate(model, node)
            if found is None:
                continue
            types = infer_types(model) if types is None else types
            index, what = found
            if not self._keeps_shape(node, index, types):
                continue
            reason = why_not_bypassed(node, index)
            yield Declined(node=node, why=reason) if reason else _Nothing(node=node, what=what, index=index)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read the input."""
        # An earlier change of the sweep may have made the input a graph input or output.
        if isinstance(site, _Nothing) and why_not_bypassed(site.node, site.index) is None:
            bypass(model, site.node, site.index)

    def _keeps_shape(self, node: ir.Node, index: int, types: Mapping[ir.Value, Inferred]) -> bool:
        if node.op_type in (*_SINGLE, "Split"):
            return True
        source = shape_in(types, input_of(node, index))
        if node.op_type in _REDUCING or node.op_type in _POOLING:
            return same_shape(source, shape_in(types, node.outputs[0]))
        others = [i for i in range(len(node.inputs)) if i != index]
        scalars = all(_is_small(node.inputs[i], source) for i in others)
        return scalars or same_shape(source, shape_in(types, node.outputs[0]))


def _candidate(model: ir.Model, node: ir.Node) -> tuple[int, str] | None:
    """Return which input the node may be, and why."""
    if node.op_type in _SINGLE:
        return (0, "it has one input") if len(node.inputs) == 1 else None
    if node.op_type == "Split":
        return (0, "it has one output") if len(node.outputs) == 1 else None
    if node.op_type in _POOLING:
        return 0, "it pools a single element"
    if node.op_type in _REDUCING:
        return _reduction(model, node)
    if node.op_type == "Where":
        chosen = constant_of(input_of(node, 0))
        if chosen is None or not chosen.size or chosen.any() != chosen.all():
            return None
        return (1, "its condition is true") if chosen.all() else (2, "its condition is false")
    neutral, places = _NEUTRAL[node.op_type]
    for place in places:
        array = constant_of(input_of(node, place))
        if array is not None and array.size and array.dtype.kind in "biuf" and bool((array == neutral).all()):
            return 1 - place, f"{node.op_type} of {neutral} changes nothing"
    return None


def _reduction(model: ir.Model, node: ir.Node) -> tuple[int, str] | None:
    if not node.attributes.get_int("keepdims", 1):
        return None
    if opset_of(model, node) >= _AXES_ARE_INPUT.get(node.op_type, 18):
        axes = ints_of(input_of(node, 1))
    else:
        given = node.attributes.get("axes")
        axes = None if given is None else list(given.as_ints())
    return (0, f"axes {axes} have one element") if axes else None


def _is_small(value: ir.Value | None, source: Shape | None) -> bool:
    """Whether a constant broadcasts over a tensor of this shape without making it larger."""
    array = constant_of(value)
    if array is None or array.size != 1:
        return False
    return array.ndim == 0 or (source is not None and array.ndim <= len(source))
