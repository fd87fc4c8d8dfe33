"""The pass ``shrink_topk``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, remove_dead, take_over, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_tensor,
    has_attribute_references,
    input_of,
    ints_of,
    is_op,
    label,
    nodes_of,
    opset_of,
)
from graphopt.surgery.semantics.slicing import cuts_of
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

_FIRST_WITH_K_AS_INPUT = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fewer(Site):
    """A TopK of which only the first ``count`` are read, and the Slices that take just these."""

    count: int
    slices: tuple[ir.Node, ...]


@dataclass(frozen=True, kw_only=True)
class ShrinkTopk(GraphPass):
    """Let ``TopK`` give only what is read of it.

    Why: a sort is exported as a TopK of all elements with a Slice behind it; sorting a quarter of a
    million scores to keep a thousand is most of a proposal head's time on a device.
    Before: ``TopK(k = 277248) -> values, indices -> Slice(0:1000)`` each.
    After: ``TopK(k = 1000)``; the order of equal elements is the same, the lower index first.
    Seen in: faster_rcnn_dcn, sorted_proposals.
    Known as: topk-fix (30), topk/sort (S4).
    """

    name: ClassVar[str] = "shrink_topk"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every TopK whose readers are all Slices; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "TopK"):
            readers = [user for value in node.outputs for user, _ in value.uses()]
            if not readers or not all(is_op(user, "Slice") for user in readers):
                continue
            found = _fewer(model, node, readers, types)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
            elif found is not None:
                yield found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write a TopK with the new K, which gives its results the names that the Slices gave them."""
        node = site.node
        if not isinstance(site, _Fewer) or node.graph is None:
            return
        new = VersionedBuilder(model, node)
        count = new.integers([site.count], "k")
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        made = new.ops("TopK", node.inputs[0], count, attributes=attributes, outputs=2)
        for value, old in zip(made, node.outputs, strict=True):
            value.type = old.type
            readers = [user for user, _ in old.uses()]
            old.replace_all_uses_with(value)
            whole = [user for user in readers if user in site.slices]
            for first in whole[:1]:
                take_over(value, first.outputs[0])
            remove_dead(model, whole[:1])
            for other in whole[1:]:
                if why_not_bypassed(other) is None:
                    bypass(model, other)
        remove_dead(model, [node])


def _fewer(model: ir.Model, node: ir.Node, readers: list[ir.Node], types: KnownTypes) -> _Fewer | str | None:
    opset = opset_of(model, node)
    if opset < _FIRST_WITH_K_AS_INPUT:
        return f"opset {opset} has K as an attribute; convert the model to 10 or later first"
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    if not attribute_int(node, "sorted", 1):
        return "its elements come in no order, so the first ones are any"
    shown = next((value for value in node.outputs if value.is_graph_output()), None)
    if shown is not None:
        return f"{shown.name} is a graph output"
    rank = types.rank(node.inputs[0])
    given = ints_of(input_of(node, 1)) if constant_tensor(input_of(node, 1)) is not None else None
    if given is None or rank is None:
        return "its K or the rank of its input is not known; run static_shapes first"
    axis, total = attribute_int(node, "axis", -1) % rank, given[0]
    counts: dict[ir.Node, int] = {}
    for user in readers:
        count = _leading(user, opset, rank, axis, total)
        if isinstance(count, str):
            return count
        counts[user] = count
    most = max(counts.values())
    if most >= total:
        return None
    whole = tuple(user for user, count in counts.items() if count == most and _only(user, opset, rank))
    return _Fewer(node=node, what=f"K {total} -> {most}", count=most, slices=whole)


def _leading(node: ir.Node, opset: int, rank: int, axis: int, total: int) -> int | str:
    """Return how many elements a Slice takes from the beginning of the axis."""
    cuts = cuts_of(node, opset, rank)
    if isinstance(cuts, str):
        return f"{label(node)}: {cuts}"
    taken = cuts[axis].indices(total) if axis in cuts else range(total)
    if not taken:
        return f"{label(node)} takes nothing"
    if taken.start != 0 or taken.step != 1:
        return f"{label(node)} does not take the first elements of axis {axis}"
    return len(taken)


def _only(node: ir.Node, opset: int, rank: int) -> bool:
    """Whether the Slice cuts no other axis."""
    cuts = cuts_of(node, opset, rank)
    return not isinstance(cuts, str) and len(cuts) == 1
