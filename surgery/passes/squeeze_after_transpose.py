"""The pass ``squeeze_after_transpose``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

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
from graphopt.surgery.semantics.permuting import perm_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

_READERS = ("Flatten", "Reshape")
_FIRST_WITH_AXES_INPUT = 13


@dataclass(frozen=True, kw_only=True, eq=False)
class _Swap(Site):
    """The new perm, which puts the ``count`` squeezed axes first."""

    perm: tuple[int, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class SqueezeAfterTranspose(GraphPass):
    """Transpose a map with its batch axis, where that is squeezed away in front of a ``Reshape``.

    Why: a device holds maps in a layout of its own; from four axes to channels last is one conversion
    there, while a Squeeze first makes it go through the plain layout. And the Squeeze is lost in the Reshape.
    Before: ``map[1,C,H,W] -> Squeeze(0) -> Transpose(1,2,0) -> Reshape([-1,C])``.
    After: ``map -> Transpose(0,2,3,1) -> Squeeze(0) -> Reshape([-1,C])``; ``merge_reshapes`` joins the two.
    Seen in: faster_rcnn_dcn, fcos, nas_fpn, sorted_proposals.
    """

    name: ClassVar[str] = "squeeze_after_transpose"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Transpose between a Squeeze and Reshapes; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Transpose"):
            upper = node.inputs[0].producer() if node.inputs[0] is not None else None
            readers = [user for user, _ in node.outputs[0].uses()]
            if upper is None or upper.graph is not node.graph or not is_op(upper, "Squeeze"):
                continue
            if not readers or not all(is_op(user, *_READERS) for user in readers):
                continue
            found = _swap(model, node, upper, types)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the Transpose of all axes, and the Squeeze behind it."""
        upper = site.node.inputs[0].producer() if site.node.inputs[0] is not None else None
        if not isinstance(site, _Swap) or site.node.graph is None or upper is None:
            return
        new = VersionedBuilder(model, site.node)
        turned = new.op("Transpose", upper.inputs[0], attributes={"perm": list(site.perm)})
        turned.type = site.node.outputs[0].type
        new.replace(new.squeeze(turned, list(range(site.count))))


def _swap(model: ir.Model, node: ir.Node, upper: ir.Node, types: KnownTypes) -> _Swap | str:
    if has_attribute_references(node) or has_attribute_references(upper):
        return "an attribute comes from the caller of its function"
    if node.outputs[0].is_graph_output():
        return f"{node.outputs[0].name} is a graph output"
    reason = used_elsewhere(upper.outputs[0], node)
    if reason is not None:
        return reason
    shape = types.of(upper.inputs[0]).shape
    if shape is None:
        return "the rank of what is squeezed is not known"
    axes = _squeezed(upper, opset_of(model, upper), shape)
    if isinstance(axes, str):
        return axes
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    lower = perm_of(node) or tuple(reversed(range(len(kept))))
    if sorted(lower) != list(range(len(kept))):
        return "its perm does not fit the rank"
    perm = (*axes, *(kept[axis] for axis in lower))
    what = f"perm {list(lower)} behind the Squeeze becomes {list(perm)} in front of it"
    return _Swap(node=node, what=what, perm=perm, count=len(axes))


def _squeezed(node: ir.Node, opset: int, shape: tuple[int | str | None, ...]) -> list[int] | str:
    if opset >= _FIRST_WITH_AXES_INPUT:
        given = constant_of(input_of(node, 1))
        if given is None and input_of(node, 1) is not None:
            return "the axes of the Squeeze are computed at run time"
        axes = None if given is None else [int(axis) for axis in given.ravel()]
    else:
        attribute = node.attributes.get("axes")
        axes = None if attribute is None else list(attribute.as_ints())
    if axes is not None:
        return sorted(axis % len(shape) for axis in axes)
    if not all(isinstance(size, int) for size in shape):
        return "the Squeeze drops every axis of one element, and not all sizes are known"
    return [axis for axis, size in enumerate(shape) if size == 1]
