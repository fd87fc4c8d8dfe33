"""The pass ``scatter_to_concat``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphopt.core.tensors import Array
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_of,
    has_attribute_references,
    input_of,
    is_op,
    nodes_of,
    static_shape,
)
from graphopt.surgery.semantics.slicing import Cut, write_slice
from graphopt.surgery.shapes.known_types import KnownTypes
from graphopt.surgery.versioned_builder import VersionedBuilder

Span = tuple[int, int]
"""First element and the one behind the last, along one axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block(Site):
    """A ScatterND that writes one block.

    Attributes:
        sizes: of the data.
        dtype: of the data.
        spans: of the block, along every axis.
        reshapes: whether the updates have another shape than the block.
    """

    sizes: tuple[int, ...]
    dtype: ir.DataType
    spans: tuple[Span, ...]
    reshapes: bool


@dataclass(frozen=True, kw_only=True)
class ScatterToConcat(GraphPass):
    """Put a block into a tensor by ``Slice`` and ``Concat`` instead of ``ScatterND``.

    Why: assigning to columns is exported as a ScatterND with an index for every row; it writes element
    by element, on the host of many devices, and hides the columns from other rewrites.
    Before: ``boxes[N,4], updates[N,2] -> ScatterND(indices of the columns 0:2, constant)``.
    After: ``Concat(updates, Slice(boxes, 2:4))`` along axis 1; of a Concat that has the rest as an input,
    that input. Any block of neighbouring rows, columns or both.
    Seen in: column_decoder.
    Known as: in-place index assignment (S15).

    Attributes:
        max_axes: leave blocks alone that are smaller than the tensor along more axes.
    """

    name: ClassVar[str] = "scatter_to_concat"
    max_axes: int = 2

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ScatterND with constant indices; see ``GraphPass.sites``."""
        types = KnownTypes(model)
        for node in nodes_of(model, "ScatterND"):
            indices = constant_of(input_of(node, 1))
            if indices is None:
                yield Declined(node=node, why="its indices are computed at run time")
                continue
            found = self._block(node, indices, types)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the parts around the block and join them."""
        data, updates = input_of(site.node, 0), input_of(site.node, 2)
        if not isinstance(site, _Block) or site.node.graph is None or data is None or updates is None:
            return
        joiner = _Joiner(VersionedBuilder(model, site.node), site)
        site_axes = [axis for axis, size in enumerate(site.sizes) if site.spans[axis] != (0, size)]
        joiner.finish(joiner.placed(data, joiner.block(updates), list(site.sizes), site_axes), updates)

    def _block(self, node: ir.Node, indices: Array, types: KnownTypes) -> _Block | str:
        if has_attribute_references(node):
            return "an attribute comes from the caller of its function"
        if node.attributes.get_string("reduction", "none") != "none":
            return "it combines the updates with what was there"
        sizes, dtype = types.static(input_of(node, 0)), types.of(input_of(node, 0)).dtype
        if sizes is None or dtype is None:
            return "the shape of what it changes is not known; run static_shapes first"
        if indices.size == 0 or 0 in sizes:
            return "it changes nothing"
        spans = _spans(indices.reshape(-1, indices.shape[-1]).astype(np.int64), sizes)
        if spans is None:
            return "its indices are no block in order"
        partial = sum(span != (0, size) for span, size in zip(spans, sizes, strict=True))
        if partial > self.max_axes:
            return f"the block is smaller than the tensor along {partial} axes"
        block = tuple(end - begin for begin, end in spans)
        updates = (*indices.shape[:-1], *sizes[indices.shape[-1] :])
        shown = ", ".join(f"{begin}:{end}" for begin, end in spans)
        what = f"[{shown}] of {list(sizes)} by Concat"
        return _Block(node=node, what=what, sizes=sizes, dtype=dtype, spans=spans, reshapes=updates != block)


def _spans(rows: NDArray[np.int64], sizes: tuple[int, ...]) -> tuple[Span, ...] | None:
    """Return the block whose places ``rows`` lists in order, None when it is none."""
    count = rows.shape[1]
    rows = np.where(rows < 0, rows + np.array(sizes[:count]), rows)
    begins, ends = rows.min(axis=0), rows.max(axis=0) + 1
    extent = ends - begins
    if math.prod(int(item) for item in extent) != len(rows):
        return None
    places = np.stack(np.unravel_index(np.arange(len(rows)), tuple(extent)), axis=-1) + begins
    if (begins < 0).any() or (ends > sizes[:count]).any() or not (places == rows).all():
        return None
    spans = [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]
    return (*spans, *((0, size) for size in sizes[count:]))


@dataclass(frozen=True)
class _Joiner:
    """Writes the parts of one site, with their shapes: the next site may ask for them."""

    new: VersionedBuilder
    site: _Block

    def block(self, updates: ir.Value) -> ir.Value:
        """Return the updates in the shape of the block."""
        sizes = [end - begin for begin, end in self.site.spans]
        if self.site.reshapes:
            return self._shaped(self.new.reshape(updates, sizes), sizes)
        return self._shaped(updates, sizes) if updates.shape is None else updates

    def placed(self, data: ir.Value, updates: ir.Value, sizes: list[int], axes: list[int]) -> ir.Value:
        """Write ``data``, which has ``sizes``, with ``updates`` in the block, smaller along ``axes``."""
        if not axes:
            return updates
        axis, *rest = axes
        begin, end = self.site.spans[axis]
        if rest:
            inner = self._part(data, axis, (begin, end), sizes)
            middle = (
                inner[0] if len(inner) == 1 else self._joined(inner, axis, _with(sizes, axis, end - begin))
            )
            updates = self.placed(middle, updates, _with(sizes, axis, end - begin), rest)
        before = self._part(data, axis, (0, begin), sizes)
        after = self._part(data, axis, (end, sizes[axis]), sizes)
        return self._joined([*before, updates, *after], axis, sizes)

    def finish(self, result: ir.Value, updates: ir.Value) -> None:
        """Let the result take the place of what the ScatterND makes."""
        self.new.replace(self.new.op("Identity", updates) if result is updates else result)

    def _part(self, data: ir.Value, axis: int, span: Span, sizes: list[int]) -> list[ir.Value]:
        """Return what ``data`` holds in a span, as values to be joined along the axis."""
        if span[0] == span[1]:
            return []
        known = _inputs_of_concat(data, axis, span)
        if known is not None:
            return known
        part = write_slice(self.new, data, {axis: Cut(*span)})
        return [self._shaped(part, _with(sizes, axis, span[1] - span[0]))]

    def _joined(self, parts: list[ir.Value], axis: int, sizes: list[int]) -> ir.Value:
        return self._shaped(self.new.op("Concat", *parts, attributes={"axis": axis}), sizes)

    def _shaped(self, value: ir.Value, sizes: list[int]) -> ir.Value:
        value.type, value.shape = ir.TensorType(self.site.dtype), ir.Shape(sizes)
        return value


def _with(sizes: list[int], axis: int, size: int) -> list[int]:
    return [*sizes[:axis], size, *sizes[axis + 1 :]]


def _inputs_of_concat(data: ir.Value, axis: int, span: Span) -> list[ir.Value] | None:
    """Return the inputs of a Concat that make up just this span, None when there are none."""
    maker = data.producer()
    if maker is None or not is_op(maker, "Concat") or maker.attributes.get_int("axis", 0) != axis:
        return None
    found: list[ir.Value] = []
    place = 0
    for value in maker.inputs:
        sizes = static_shape(value)
        if value is None or sizes is None:
            return None
        if span[0] <= place and place + sizes[axis] <= span[1]:
            found.append(value)
        elif place < span[1] and span[0] < place + sizes[axis]:
            return None
        place += sizes[axis]
    return found
