"""The pass ``merge_reshapes``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, remove_unread, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
    label,
    nodes_of,
    used_elsewhere,
)
from graphopt.surgery.shapes.broadcasting import Shape, same_shape, shape_in
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Short(Site):
    """A node that can read what ``upper`` reads, if any: reshaped to ``sizes``, or as it is without."""

    upper: ir.Node | None
    sizes: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class MergeReshapes(GraphPass):
    """Reshape once, or not at all, where ``Reshape``, ``Flatten``, ``Squeeze`` and ``Unsqueeze`` meet.

    Why: view, unsqueeze and squeeze are free in a training framework; on a device each may be a copy,
    and each hides its neighbours from fusions.
    Before: ``x[N,12] -> Unsqueeze(1) -> Reshape([-1,3,4])``, ``x -> Squeeze(1) -> Unsqueeze(1)``.
    After: ``x -> Reshape([-1,3,4])``, ``x``; nodes that keep the shape go too, and beside one of these
    a ``Transpose`` that moves nothing but axes of size one.
    Seen in: masked_attention.
    """

    name: ClassVar[str] = "merge_reshapes"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield nodes that keep the shape, alone or with the one above; see ``GraphPass.sites``."""
        nodes = [
            node for node in nodes_of(model, *RESHAPING, "Transpose") if not has_attribute_references(node)
        ]
        types = infer_types(model) if any(is_op(node, *RESHAPING) for node in nodes) else {}
        taken: set[ir.Node] = set()
        for node in nodes:
            place = None if node in taken else _place(node, types)
            if place is None:
                continue
            if isinstance(place, _Short):
                upper = place.upper
                if upper in taken:
                    continue  # the next sweep looks at it again
                taken |= {node} if upper is None else {node, upper}
            yield place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Reshape the first tensor, or let it be read as it is."""
        if not isinstance(site, _Short):
            return
        # Read only now: an earlier change of the sweep may have put another tensor in its place.
        source = site.node.inputs[0] if site.upper is None else site.upper.inputs[0]
        if source is None or (site.sizes is None and why_not_bypassed(site.node, source=source) is not None):
            return
        if site.sizes is not None:
            builder = VersionedBuilder(model, site.node)
            builder.replace(builder.reshape(source, site.sizes))
            return
        site.node.replace_input_with(0, source)
        bypass(model, site.node)
        if site.upper is not None:
            remove_unread(model, site.upper.outputs)


def _place(node: ir.Node, types: Mapping[ir.Value, Inferred]) -> _Short | Declined | None:
    before, after = input_of(node, 0), shape_in(types, node.outputs[0])
    if before is None or not _keeps_order(node, types):
        return None
    if same_shape(shape_in(types, before), after):
        return _nothing(node, None, "it keeps the shape")
    upper = before.producer()
    if upper is None or not is_op(upper, *RESHAPING, "Transpose") or upper.graph is not node.graph:
        return None
    if is_op(node, "Transpose") and is_op(upper, "Transpose"):
        return None  # merge_transposes
    source = input_of(upper, 0)
    if source is None or has_attribute_references(upper) or not _keeps_order(upper, types):
        return None
    if same_shape(shape_in(types, source), after):
        return _nothing(node, upper, f"it undoes {label(upper)}")
    reason = used_elsewhere(before, node)
    if reason is not None:
        return Declined(node=node, why=reason)
    sizes = _sizes(node, shape_in(types, source), after)
    if isinstance(sizes, str):
        return Declined(node=node, why=sizes)
    what = f"with {label(upper)} it is Reshape to {list(sizes)}"
    return _Short(node=node, what=what, upper=upper, sizes=sizes)


def _keeps_order(node: ir.Node, types: Mapping[ir.Value, Inferred]) -> bool:
    """Whether the elements come out in the order in which they are; a Transpose may move axes of size one."""
    if not is_op(node, "Transpose"):
        return True
    shape = shape_in(types, input_of(node, 0))
    if shape is None:
        return False
    given = node.attributes.get("perm")
    perm = list(reversed(range(len(shape)))) if given is None else list(given.as_ints())
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _nothing(node: ir.Node, upper: ir.Node | None, what: str) -> _Short | Declined:
    reason = why_not_bypassed(node, source=None if upper is None else upper.inputs[0])
    return (
        Declined(node=node, why=reason) if reason else _Short(node=node, what=what, upper=upper, sizes=None)
    )


def _sizes(node: ir.Node, source: Shape | None, after: Shape | None) -> tuple[int, ...] | str:
    """Return constant sizes that take ``source`` to ``after``; a clause when there are none."""
    given = ints_of(input_of(node, 1)) if is_op(node, "Reshape") else None
    if given is not None and 0 not in given:
        return tuple(given)  # whatever it reads, the elements are the same
    if after is None:
        return "the shape that it makes is unknown"
    if 0 in after or (source is not None and 0 in source):
        return "it is empty"
    sizes = [_size(size, index, source) for index, size in enumerate(after)]
    # A copied size may be zero at run time, and then nothing tells what -1 stands for.
    if sizes.count(-1) > 1 or {0, -1} <= set(sizes):
        unknown = ["?" if size is None else str(size) for size in after]
        return f"more than one size of [{', '.join(unknown)}] is unknown"
    return tuple(sizes)


def _size(size: int | str | None, index: int, source: Shape | None) -> int:
    if isinstance(size, int):
        return size
    same = size is not None and source is not None and index < len(source) and source[index] == size
    return 0 if same else -1
