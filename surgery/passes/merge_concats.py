"""The pass ``merge_concats``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import has_attribute_references, is_op, label, nodes_of, used_elsewhere
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types


@dataclass(frozen=True, kw_only=True, eq=False)
class _Nest(Site):
    """A Concat, and the Concats among its inputs whose own inputs it takes over."""

    inner: frozenset[ir.Node]


@dataclass(frozen=True, kw_only=True)
class MergeConcats(GraphPass):
    """Join with one ``Concat`` what nested ones join along the same axis.

    Why: dense blocks and box heads join what was joined before; each step copies all of it again.
    Before: ``Concat(Concat(a, b), c)``, all along one axis.
    After: ``Concat(a, b, c)``.
    Seen in: box_decoder.
    Known as: KnowledgeMergeConsecutiveConcat.
    """

    name: ClassVar[str] = "merge_concats"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Concat that reads a Concat; see ``GraphPass.sites``."""
        outer = [node for node in nodes_of(model, "Concat") if any(_inner(node))]
        types = infer_types(model) if any(_mixes_signs(node) for node in outer) else {}
        taken: set[ir.Node] = set()
        for node in outer:
            inner = list(dict.fromkeys(_inner(node)))
            if taken & {node, *inner}:
                continue  # the next sweep looks at it again
            reasons = {item: _why_not(node, item, types) for item in inner}
            good = frozenset(item for item, reason in reasons.items() if reason is None)
            if good:
                taken |= {node, *good}
                names = ", ".join(label(item) for item in inner if item in good)
                yield _Nest(node=node, what=f"it joins what {names} joins", inner=good)
            for reason in reasons.values():
                if reason is not None:
                    yield Declined(node=node, why=reason)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one Concat of all the parts."""
        if not isinstance(site, _Nest):
            return
        parts: list[ir.Value | None] = []
        for value in site.node.inputs:
            producer = value.producer() if value is not None else None
            parts += producer.inputs if producer in site.inner and producer is not None else [value]
        old = site.node.outputs[0]
        axis = site.node.attributes["axis"].as_int()
        builder = NodeBuilder(model, site.node)
        builder.replace(builder.op("Concat", *parts, attributes={"axis": axis}, like=old))


def _inner(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        if producer is not None and is_op(producer, "Concat") and producer.graph is node.graph:
            yield producer


def _axis(node: ir.Node) -> int | None:
    axis = node.attributes.get("axis")
    return None if axis is None or has_attribute_references(node) else axis.as_int()


def _mixes_signs(node: ir.Node) -> bool:
    axes = [_axis(item) for item in (node, *_inner(node))]
    return len({axis < 0 for axis in axes if axis is not None}) > 1


def _why_not(node: ir.Node, inner: ir.Node, types: dict[ir.Value, Inferred]) -> str | None:
    mine, other = _axis(node), _axis(inner)
    if mine is None or other is None:
        return "its axis is not given, or comes from the caller of its function"
    if (mine < 0) != (other < 0):
        found = types.get(inner.outputs[0])
        if found is None or found.shape is None:
            return f"{label(inner)} counts its axis from the other end of a tensor of unknown rank"
        mine, other = mine % len(found.shape), other % len(found.shape)
    if mine != other:
        return f"{label(inner)} joins along axis {other}, not {mine}"
    return used_elsewhere(inner.outputs[0], node)
