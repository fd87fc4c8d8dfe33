"""The pass ``merge_slices``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import input_of, is_op, label, nodes_of, opset_of
from graphopt.surgery.semantics.slicing import Cut, compose, cuts_of, write_slice
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

_FIRST_WITH_STEPS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair(Site):
    """A Slice, and what it takes together with the one before it."""

    upper: ir.Node
    cuts: Mapping[int, Cut]


@dataclass(frozen=True, kw_only=True)
class MergeSlices(GraphPass):
    """Take with one ``Slice`` what consecutive ones take.

    Why: ``x[:, :, 1:-1, 2:-2]`` is exported as one Slice per axis; each copies the tensor, and on
    some devices each runs on the host.
    Before: ``x -> Slice(axis 2, 1:-1) -> Slice(axis 3, 2:-2)``.
    After: ``x -> Slice(axes 2 and 3)``; on the same axis where one start, end and step can say it. Several
    that read one Slice are all joined with it.
    Seen in: box_decoder.
    Known as: merge-slices (5).
    """

    name: ClassVar[str] = "merge_slices"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Slice that reads a Slice; see ``GraphPass.sites``."""
        pairs = [(node, upper) for node in nodes_of(model, "Slice") if (upper := _upper(node)) is not None]
        types = infer_types(model) if pairs else {}
        joined: set[ir.Node] = set()
        for node, upper in pairs:
            source = upper.inputs[0]
            if source is None or upper in joined:
                continue  # the next sweep looks at it again
            reason = _why_it_stays(upper.outputs[0])
            cuts = reason or _joined(model, node, upper, types.get(source))
            if isinstance(cuts, str):
                yield Declined(node=node, why=cuts)
                continue
            joined.add(node)
            axes = ", ".join(map(str, sorted(cuts)))
            what = f"it takes with {label(upper)} at once along axes {axes}"
            yield _Pair(node=node, what=what, upper=upper, cuts=cuts)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one Slice in place of two."""
        source = input_of(site.upper, 0) if isinstance(site, _Pair) else None
        if isinstance(site, _Pair) and source is not None:
            builder = VersionedBuilder(model, site.node)
            builder.replace(write_slice(builder, source, site.cuts))


def _why_it_stays(between: ir.Value) -> str | None:
    """Return who reads the upper Slice but is no Slice of it (a clause), None when nobody does."""
    if between.is_graph_output():
        return f"{between.name} is a graph output"
    others = [user for user, index in between.uses() if index != 0 or not is_op(user, "Slice")]
    return f"{between.name} is also read by {label(others[0])}" if others else None


def _upper(node: ir.Node) -> ir.Node | None:
    source = input_of(node, 0)
    upper = source.producer() if source is not None else None
    return upper if upper is not None and is_op(upper, "Slice") and upper.graph is node.graph else None


def _joined(model: ir.Model, node: ir.Node, upper: ir.Node, found: Inferred | None) -> dict[int, Cut] | str:
    sizes = found.shape if found is not None else None
    rank, opset = None if sizes is None else len(sizes), opset_of(model, node)
    first, second = (cuts_of(item, opset, rank) for item in (upper, node))
    if isinstance(first, str):
        return f"{label(upper)}: {first}"
    if isinstance(second, str):
        return second
    joined = {**first, **second}
    for axis in first.keys() & second.keys():
        size = sizes[axis] if sizes is not None else None
        cut = compose(first[axis], second[axis], size if isinstance(size, int) else None)
        if cut is None:
            return f"what both take along axis {axis} depends on its size, which is unknown"
        joined[axis] = cut
    if opset < _FIRST_WITH_STEPS and any(cut.step != 1 for cut in joined.values()):
        return f"opset {opset} has no steps"
    return joined
