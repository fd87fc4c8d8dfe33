"""The pass ``remove_identity``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import bypass, why_not_bypassed
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import input_of, ints_of, nodes_of, opset_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

SINGLE = ("Concat", "Max", "Mean", "Min", "Sum")
RESHAPING = ("Expand", "Flatten", "Reshape", "Slice", "Tile")
TYPED = ("Cast", *RESHAPING)


@dataclass(frozen=True, kw_only=True)
class RemoveIdentity(GraphPass):
    """Remove nodes that return their input as it is.

    Why: exporters leave them behind, other passes make them; each is a copy on a device, and each
    hides a neighbour from pattern matching.
    Before: ``x -> Identity -> Cast(to its own dtype) -> Transpose(0, 1, 2) -> Relu``.
    After: ``x -> Relu``; also for Reshape, Expand, Flatten, Slice and Tile that keep the shape, and
    for Concat, Max, Mean, Min and Sum of one tensor.
    Seen in: skip_decoder.
    Known as: big-constant cleanup (43).
    """

    name: ClassVar[str] = "remove_identity"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield what does nothing; see ``GraphPass.sites``."""
        candidates = list(nodes_of(model, "Identity", "Transpose", *SINGLE, *TYPED))
        types = infer_types(model) if any(node.op_type in TYPED for node in candidates) else {}
        for node in candidates:
            what = _what_it_keeps(model, node, types)
            if what is None or node.graph is None:
                continue
            reason = why_not_bypassed(node)
            yield Site(node=node, what=what) if reason is None else Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Let the readers read the node's input."""
        # An earlier change of the sweep may have made the input a graph input or output.
        if site.node.graph is not None and why_not_bypassed(site.node) is None:
            bypass(model, site.node)


def _what_it_keeps(model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> str | None:
    source, output = input_of(node, 0), node.outputs[0]
    if source is None:
        return None
    if node.op_type == "Identity":
        return "it copies its input"
    if node.op_type in SINGLE:
        return "it has one input" if len(node.inputs) == 1 else None
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm")
        keeps = perm is not None and not perm.is_ref() and list(perm.as_ints()) == sorted(perm.as_ints())
        return "it keeps the order of the axes" if keeps else None
    before, after = types.get(source), types.get(output)
    if before is None or after is None:
        return None
    if node.op_type == "Cast":
        return "it casts to the same dtype" if before.dtype == after.dtype is not None else None
    if node.op_type not in RESHAPING or before.static is None or before.static != after.static:
        return None
    if node.op_type == "Slice" and not _goes_forward(model, node):
        return None
    return f"it keeps the shape {before.text}"


def _goes_forward(model: ir.Model, node: ir.Node) -> bool:
    if opset_of(model, node) < 10 or input_of(node, 4) is None:
        return True
    steps = ints_of(input_of(node, 4))
    return steps is not None and all(step > 0 for step in steps)
