"""The pass ``gather_to_split``."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_edits import remove_dead, take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import (
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    nodes_of,
    opset_of,
)
from graphopt.surgery.semantics.slicing import cuts_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """What one node takes along the common axis, which goes when ``is_single``."""

    node: ir.Node
    start: int
    end: int
    is_single: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cover(Site):
    """Nodes that together take all of one axis; ``node`` is the first of them."""

    axis: int
    pieces: tuple[_Piece, ...]
    cuts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class GatherToSplit(GraphPass):
    """Take the parts of an axis with one ``Split`` instead of several ``Gather`` and ``Slice``.

    Why: query, key and value, or the four coordinates of boxes, are read from one tensor; a Split
    passes over it once, or is only a view.
    Before: ``x[3,N,C] -> Gather(0)``, ``x -> Gather(1)``, ``x -> Gather(2)``, all along axis 0.
    After: ``x -> Split(1,1,1)``, each part ``-> Squeeze(0)``; slices of one axis need no Squeeze.
    Seen in: box_decoder, fcos, vit_block.
    Known as: gather-to-split (6).
    """

    name: ClassVar[str] = "gather_to_split"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield groups of nodes that cut up one tensor along one axis; see ``GraphPass.sites``."""
        nodes = list(nodes_of(model, "Gather", "Slice"))
        types = infer_types(model) if len(nodes) > 1 else {}
        groups: dict[tuple[ir.Value, ir.Graph | None, int], list[_Piece]] = {}
        for node in nodes:
            source = input_of(node, 0)
            if source is not None and (found := _piece(model, node, types.get(source))) is not None:
                groups.setdefault((source, node.graph, found[0]), []).append(found[1])
        for (source, _, axis), pieces in groups.items():
            size = (types[source].shape or ())[axis]
            cuts = _cuts(pieces, size) if isinstance(size, int) else None
            if len({(piece.start, piece.end) for piece in pieces}) < 2:
                continue
            if cuts is None:
                taken = ", ".join(f"{piece.start}:{piece.end}" for piece in pieces)
                why = f"{taken} do not cover axis {axis} of {source.name}, of size {size}, once"
                yield Declined(node=pieces[0].node, why=why)
                continue
            what = f"{len(pieces)} nodes take {source.name} apart along axis {axis}"
            yield _Cover(node=pieces[0].node, what=what, axis=axis, pieces=tuple(pieces), cuts=cuts)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the Split in front of the first of the nodes, and let its parts take over."""
        source = input_of(site.node, 0)
        if not isinstance(site, _Cover) or source is None:
            return
        builder = VersionedBuilder(model, site.node, f"{source.name}.parts")
        sizes = [later - earlier for earlier, later in pairwise(site.cuts)]
        parts = dict(zip(site.cuts, builder.split(source, axis=site.axis, sizes=sizes), strict=False))
        made: dict[tuple[int, bool], ir.Value] = {}
        for piece in site.pieces:
            key = piece.start, piece.is_single
            if key in made:
                old, kept = piece.node.outputs[0], made[key]
                if old.is_graph_output():
                    kept = builder.op("Identity", kept)
                    take_over(kept, old)
                else:
                    old.replace_all_uses_with(kept)
                continue
            part = parts[piece.start]
            made[key] = builder.squeeze(part, [site.axis]) if piece.is_single else part
            take_over(made[key], piece.node.outputs[0])
        remove_dead(model, [piece.node for piece in site.pieces])


def _piece(model: ir.Model, node: ir.Node, found: Inferred | None) -> tuple[int, _Piece] | None:
    """Return axis and piece of a node that takes neighbours along one axis of known size."""
    source = input_of(node, 0)
    if source is None or found is None or found.shape is None or constant_tensor(source) is not None:
        return None
    producer = source.producer()
    if has_attribute_references(node) or (producer is not None and is_op(producer, "Shape")):
        return None
    if is_op(node, "Gather"):
        axis = node.attributes.get_int("axis", 0) % len(found.shape)
        indices, size = constant_of(input_of(node, 1)), found.shape[axis]
        if indices is None or indices.ndim > 1 or not indices.size or not isinstance(size, int):
            return None
        places = [int(index) % size for index in indices.ravel()]
        if places != list(range(places[0], places[0] + len(places))):
            return None
        single = indices.ndim == 0
        return axis, _Piece(node=node, start=places[0], end=places[-1] + 1, is_single=single)
    cuts = cuts_of(node, opset_of(model, node), len(found.shape))
    if isinstance(cuts, str) or len(cuts) != 1:
        return None
    ((axis, cut),) = cuts.items()
    size = found.shape[axis]
    if not isinstance(size, int) or cut.step != 1 or not (taken := cut.indices(size)):
        return None
    return axis, _Piece(node=node, start=taken.start, end=taken.stop, is_single=False)


def _cuts(pieces: list[_Piece], size: int) -> tuple[int, ...] | None:
    """Return where the axis is cut, ends included, or None when the pieces do not cover it once."""
    spans = sorted({(piece.start, piece.end) for piece in pieces})
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    return (*starts, size) if [0, *ends] == [*starts, size] else None
