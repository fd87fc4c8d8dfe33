"""The pass ``strided_slice_to_view``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, input_of, nodes_of, opset_of
from graphopt.surgery.semantics.slicing import Cut, cuts_of, write_slice
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _View(Site):
    """A Slice with a step along the last axis.

    Attributes:
        rank: of its input.
        step: along the last axis; 1 when a single element is taken.
        rows: what is taken along the last axis in units of the step.
        column: what is taken within the step.
        others: what is taken along the other axes.
    """

    rank: int
    size: int
    step: int
    rows: Cut
    column: Cut
    others: dict[int, Cut]


@dataclass(frozen=True, kw_only=True)
class StridedSliceToView(GraphPass):
    """Take every n-th element of the last axis as a column of a view.

    Why: a Slice with a step along the last axis gathers single elements; ATC's documents refuse it.
    Before: ``deltas[N,320] -> Slice(axis 1, 2::4)``.
    After: ``deltas -> Reshape [N,80,4] -> Slice(axis 2, 2:3) -> Squeeze(2)``; a plain ``Slice(axis 1,
    2:3)`` where a single element is taken.
    Seen in: faster_rcnn_dcn, nas_fpn, sorted_proposals.
    Known as: slice with stride 2 (S22), delta2bbox as views.
    """

    name: ClassVar[str] = "strided_slice_to_view"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Slice with a step along the last axis; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Slice"):
            opset = opset_of(model, node)
            if opset < 10 or constant_tensor(input_of(node, 4)) is None:
                continue  # without steps
            found = _view(node, opset, types)
            if isinstance(found, str):
                yield Declined(node=node, why=found)
            elif found is not None:
                yield found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the view and the Slice."""
        source = site.node.inputs[0]
        if not isinstance(site, _View) or site.node.graph is None or source is None:
            return
        new, last = VersionedBuilder(model, site.node), site.rank - 1
        if site.step == 1:
            new.replace(write_slice(new, source, {**site.others, last: site.column}))
            return
        view = new.reshape(source, [*[0] * last, site.size // site.step, site.step])
        cuts = {**site.others, last + 1: site.column}
        if len(site.rows.indices(site.size // site.step)) < site.size // site.step:
            cuts[last] = site.rows
        new.replace(new.squeeze(write_slice(new, view, cuts), [last + 1]))


def _view(node: ir.Node, opset: int, types: KnownTypes) -> _View | str | None:
    shape = types.of(node.inputs[0]).shape
    cuts = cuts_of(node, opset, None if shape is None else len(shape))
    if isinstance(cuts, str):
        return cuts
    if shape is None:
        return None if all(cut.step == 1 for cut in cuts.values()) else "the rank of its input is not known"
    rank, size = len(shape), shape[-1]
    cut = cuts.get(rank - 1)
    if cut is None or cut.step == 1:
        return None
    if cut.step < 1:
        return f"its step is {cut.step}"
    if not isinstance(size, int):
        return "the size of the last axis is not known; run static_shapes first"
    taken = cut.indices(size)
    others = {axis: item for axis, item in cuts.items() if axis != rank - 1}
    if len(taken) < 1:
        return "it takes nothing"
    if len(taken) == 1:
        single = Cut(taken[0], taken[0] + 1)
        what = f"{taken[0]}:{taken[0] + 1} of axis {rank - 1}"
        return _View(
            node=node, what=what, rank=rank, size=size, step=1, rows=single, column=single, others=others
        )
    if size % taken.step:
        return f"its step {taken.step} does not divide {size}"
    if any(known == 0 for known in shape):
        return "its input is empty"
    row, column = divmod(taken[0], taken.step)
    what = f"column {column} of a view of {size // taken.step} by {taken.step}"
    rows, columns = Cut(row, row + len(taken)), Cut(column, column + 1)
    return _View(
        node=node, what=what, rank=rank, size=size, step=taken.step, rows=rows, column=columns, others=others
    )
