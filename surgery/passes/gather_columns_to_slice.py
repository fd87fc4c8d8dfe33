"""The pass ``gather_columns_to_slice``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
    nodes_of,
    opset_of,
)
from graphopt.surgery.semantics.slicing import FAR, Cut, write_slice
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

_FIRST_WITH_NEGATIVE_AXES = 11
_FIRST_WITH_STEPS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class _Columns(Site):
    """What a Gather takes along ``axis``, which goes when ``is_single``; all of it when ``is_whole``."""

    axis: int
    cut: Cut
    is_single: bool
    is_whole: bool


@dataclass(frozen=True, kw_only=True)
class GatherColumnsToSlice(GraphPass):
    """Take constant columns with ``Slice`` (and ``Squeeze``) instead of ``Gather``.

    Why: a Gather loads each element through an index, often on the host; a Slice is a strided copy,
    and compilers see through it.
    Before: ``x[N,T,C] -> Gather(axis 1, index 0)``, ``Gather(axis 1, [2,3,4])``.
    After: ``x -> Slice(axis 1, 0:1) -> Squeeze(1)``, ``Slice(axis 1, 2:5)``; only the Squeeze where the
    axis has one element, as a batch of one.
    Seen in: box_decoder, fcos, vit_block.
    Known as: gather-to-slice (7).
    """

    name: ClassVar[str] = "gather_columns_to_slice"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every Gather whose indices are constant; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "Gather"):
            indices = constant_of(input_of(node, 1))
            if indices is None or indices.ndim > 1 or constant_tensor(input_of(node, 0)) is not None:
                continue
            reason = _why_not(model, node)
            cut = reason or _cut([int(index) for index in indices.ravel()], opset_of(model, node))
            if isinstance(cut, str):
                yield Declined(node=node, why=cut)
                continue
            axis, single = node.attributes.get_int("axis", 0), indices.ndim == 0
            shape = types.of(input_of(node, 0)).shape
            whole = single and shape is not None and shape[axis] == 1
            what = f"indices {indices.tolist()} of axis {axis} are {cut.start}:{cut.end}:{cut.step}"
            if whole:
                what = f"axis {axis} has one element and goes"
            yield _Columns(node=node, what=what, axis=axis, cut=cut, is_single=single, is_whole=whole)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the Slice, and the Squeeze for a single index."""
        source = input_of(site.node, 0)
        if not isinstance(site, _Columns) or source is None:
            return
        builder = VersionedBuilder(model, site.node)
        taken = source if site.is_whole else write_slice(builder, source, {site.axis: site.cut})
        builder.replace(builder.squeeze(taken, [site.axis]) if site.is_single else taken)


def _why_not(model: ir.Model, node: ir.Node) -> str | None:
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    source = input_of(node, 0)
    producer = source.producer() if source is not None else None
    if producer is not None and is_op(producer, "Shape"):
        return f"it picks a size from {label(producer)}; static_shapes computes it"
    opset = opset_of(model, node)
    if node.attributes.get_int("axis", 0) < 0 and opset < _FIRST_WITH_NEGATIVE_AXES:
        return f"opset {opset} has no negative axes"
    return None


def _cut(indices: list[int], opset: int) -> Cut | str:
    if not indices:
        return "it takes nothing"
    steps = {later - earlier for earlier, later in pairwise(indices)} or {1}
    step = steps.pop()
    if steps or step < 1 or (indices[0] < 0 <= indices[-1]):
        return f"indices {indices} do not rise evenly"
    if step > 1 and opset < _FIRST_WITH_STEPS:
        return f"opset {opset} has no steps"
    end = indices[-1] + 1
    return Cut(indices[0], FAR if end == 0 else end, step)
