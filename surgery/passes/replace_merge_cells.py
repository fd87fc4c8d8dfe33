"""The pass ``replace_merge_cells``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import is_op
from graphopt.surgery.merging.cells import MergeCell, find_cells, is_pool_without_overlap
from graphopt.surgery.merging.enlarging import SPELLINGS, Repeating, plan_enlarging
from graphopt.surgery.merging.gating import Adding, Gating, plan_gating
from graphopt.surgery.merging.pooling import Pooling, plan_pooling
from graphopt.surgery.shapes.known_sizes import KnownSizes

Change = Repeating | Pooling | Gating | Adding


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cell(Site):
    """A merge cell and what changes in it."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class ReplaceMergeCells(GraphPass):
    """Make the cells that merge maps of a feature pyramid static, and spell them in one way.

    Why: exporters trace the sizes to which maps are brought, which leaves Shape, Slice and Concat in
    front of every Resize; device compilers want constants, and pay for large pooling windows.
    Before: ``Add(a, Resize(b, sizes = Concat(Slice(Shape(a)), ..)))``, ``MaxPool(kernel 4) of a`` beside
    ``MaxPool(kernel 2) of a``, ``Add(a, Mul(Sigmoid(ReduceMean(a)), b))``.
    After: ``Add(a, Resize(b, scales = [1,1,2,2]))``, ``MaxPool(kernel 2)`` of the pool that is there
    already, ``Add(a, Mul(b, Sigmoid(GlobalAveragePool(a))))``; a Pad of zeros in front of a pool goes into
    it where the map has no negative elements. Cells are found by what they compute, in any number.
    Seen in: merging_pyramid, nas_fpn.

    Attributes:
        coordinates: of the Resize: ``asymmetric`` with floor, as published ports have them; or
            ``half_pixel``, which repeats the same elements however a target rounds.
    """

    name: ClassVar[str] = "replace_merge_cells"
    coordinates: Literal["asymmetric", "half_pixel"] = "asymmetric"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every cell in which something changes; see ``GraphPass.sites``."""
        sizes = KnownSizes(model)
        judged: set[ir.Node] = set()
        for cell in find_cells(model, sizes):
            changes: list[Change] = []
            for value in cell.maps:
                node = value.producer()
                if node is None or node in judged:  # a map may go into two cells
                    continue
                judged.add(node)
                found = self._plan(model, node, sizes)
                if isinstance(found, str):
                    yield Declined(node=node, why=found)
                elif found is not None:
                    changes.append(found)
            changes += plan_gating(cell)
            if changes:
                yield _Cell(node=cell.node, what=_text(cell, changes), changes=tuple(changes))

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Apply the changes of one cell."""
        if isinstance(site, _Cell):
            for change in site.changes:
                change.apply(model)

    def _plan(self, model: ir.Model, node: ir.Node, sizes: KnownSizes) -> Repeating | Pooling | str | None:
        if is_op(node, "Resize"):
            return plan_enlarging(model, node, sizes, SPELLINGS[self.coordinates])
        return plan_pooling(model, node, sizes) if is_pool_without_overlap(node) else None


def _text(cell: MergeCell, changes: list[Change]) -> str:
    return f"{cell.kind} cell: {'; '.join(change.what for change in changes)}"
