"""The pass ``negative_gather_index``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_of, has_attribute_references, input_of, nodes_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.values.integer_ranges import IntegerRanges

_ALONG_AXIS = ("Gather", "GatherElements", "Scatter", "ScatterElements")
_BY_COORDINATES = ("GatherND", "ScatterND")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Indices(Site):
    """Indices with the sizes added where they were negative."""

    indices: Array


@dataclass(frozen=True, kw_only=True)
class NegativeGatherIndex(GraphPass):
    """Count constant indices from the front.

    Why: ONNX lets -1 mean the last element; gathers of some devices read in front of the tensor.
    Before: ``x[N,13,C] -> Gather(axis 1, index -1)``; also GatherElements, GatherND and the scatters.
    After: ``x -> Gather(axis 1, index 12)``.
    Seen in: fcos, vit_block.
    Known as: negative-gather-index (4).
    """

    name: ClassVar[str] = "negative_gather_index"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every gather and scatter with a negative index; see ``GraphPass.sites``."""
        found, computed = [], []
        for node in nodes_of(model, *_ALONG_AXIS, *_BY_COORDINATES):
            indices = constant_of(input_of(node, 1))
            if indices is None:
                computed.append(node)
            elif indices.size and int(indices.min()) < 0:
                found.append((node, indices))
        types = infer_types(model) if found or computed else {}
        ranges = IntegerRanges(model, types) if computed else None
        for node in computed:
            bounds = ranges.of(input_of(node, 1)) if ranges is not None else None
            if bounds is None or bounds[0] < 0:
                yield Declined(node=node, why="its indices are computed at run time and may be negative")
        for node, indices in found:
            sizes = _sizes(node, indices, types)
            if isinstance(sizes, str):
                yield Declined(node=node, why=sizes)
                continue
            places = indices.astype(np.int64)
            new = np.where(places < 0, places + sizes, places).astype(indices.dtype).reshape(indices.shape)
            if int(new.min()) < 0:
                yield Declined(node=node, why="an index lies in front of the tensor")
                continue
            what = f"index {int(indices.min())} becomes {int(new[indices == indices.min()].ravel()[0])}"
            yield _Indices(node=node, what=what, indices=new)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the node indices of its own."""
        if not isinstance(site, _Indices):
            return
        old = site.node.inputs[1]
        stem = f"{site.node.outputs[0].name}.indices"
        site.node.replace_input_with(1, add_constant(model, site.node, site.indices, stem))
        if old is not None:
            remove_unread(model, [old])


def _sizes(node: ir.Node, indices: Array, types: Mapping[ir.Value, Inferred]) -> NDArray[np.int64] | str:
    """Return what to add to a negative index, in a shape that broadcasts over the indices."""
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    source = input_of(node, 0)
    found = types.get(source) if source is not None else None
    if found is None or found.shape is None:
        return "the shape of what it reads is unknown"
    if node.op_type in _ALONG_AXIS:
        axes = [node.attributes.get_int("axis", 0) % max(len(found.shape), 1)]
    else:
        first = node.attributes.get_int("batch_dims", 0)
        axes = list(range(first, first + indices.shape[-1]))
    sizes = [found.shape[axis] for axis in axes]
    for axis, size in zip(axes, sizes, strict=True):
        column = indices if node.op_type in _ALONG_AXIS else indices[..., axis - axes[0]]
        if not isinstance(size, int) and int(column.min()) < 0:
            return f"the size of axis {axis} of {found.text} is unknown"
    return np.array([size if isinstance(size, int) else 0 for size in sizes], dtype=np.int64)
