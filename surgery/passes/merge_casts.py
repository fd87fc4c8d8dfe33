"""The pass ``merge_casts``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, remove_unread, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, is_op, label, nodes_of
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.values.numbers_kept import FLOATS, INTEGERS, is_plain, keeps_all


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chain(Site):
    """A Cast that can read what ``upper`` reads; without one, it does nothing at all."""

    upper: ir.Node | None


@dataclass(frozen=True, kw_only=True)
class MergeCasts(GraphPass):
    """Convert in one step what chains of ``Cast`` convert without losing anything on the way.

    Why: sizes go through float and back, masks through several integer types; each step is a copy,
    and int64 steps leave the fast cores of some devices.
    Before: ``x int32 -> Cast(int64) -> Cast(float)``, ``x float -> Cast(double) -> Cast(float)``.
    After: ``x -> Cast(float)``, ``x``; a Cast to the dtype that its input has goes too.
    Seen in: fcos, label_head, skip_decoder.
    Known as: KnowledgeMergeCasts, big-constant cleanup (43).
    """

    name: ClassVar[str] = "merge_casts"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield casts that do nothing and casts of casts; see ``GraphPass.sites``."""
        casts = [node for node in nodes_of(model, "Cast") if not has_attribute_references(node)]
        types = infer_types(model) if casts else {}
        taken: set[ir.Node] = set()
        for node in casts:
            before = node.inputs[0]
            if before is None:
                continue
            target = _target(node)
            upper = before.producer()
            if before in types and types[before].dtype == target:
                place = self._nothing(node, before)
            elif upper is None or not is_op(upper, "Cast") or has_attribute_references(upper):
                continue
            elif upper in taken:
                continue  # the next sweep looks at it again
            else:
                source = upper.inputs[0]
                found = types.get(source) if source is not None else None
                place = self._chain(node, upper, None if found is None else found.dtype)
            if isinstance(place, Site):
                taken.add(node)
            yield place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the Cast read the first tensor, or its readers where nothing is left to convert."""
        if not isinstance(site, _Chain):
            return
        if site.upper is not None:
            site.node.replace_input_with(0, site.upper.inputs[0])
            remove_unread(model, site.upper.outputs)
        elif why_not_bypassed(site.node) is None:
            bypass(model, site.node)

    def _nothing(self, node: ir.Node, before: ir.Value) -> Site | Declined:
        reason = why_not_bypassed(node)
        if reason is not None:
            return Declined(node=node, why=reason)
        return _Chain(node=node, what=f"{before.name} has its dtype", upper=None)

    def _chain(self, node: ir.Node, upper: ir.Node, first: ir.DataType | None) -> Site | Declined:
        between, target = _target(upper), _target(node)
        if first is None:
            return Declined(node=node, why=f"the dtype of what {label(upper)} reads is unknown")
        if not keeps_all(first, between):
            return Declined(node=node, why=f"{first.name} does not fit into {between.name} without loss")
        if first in FLOATS and target in INTEGERS:
            # What a float outside the range becomes is up to each implementation and pair of dtypes.
            return Declined(node=node, why=f"from {first.name} to {target.name}, out of range is undefined")
        if not is_plain(target):
            return Declined(node=node, why=f"{target.name} has conversion rules of its own")
        what = f"{first.name} -> {between.name} -> {target.name} becomes {first.name} -> {target.name}"
        return _Chain(node=node, what=what, upper=upper)


def _target(node: ir.Node) -> ir.DataType:
    return ir.DataType(node.attributes["to"].as_int())
