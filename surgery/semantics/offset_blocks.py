"""Bring the offsets of a deformable convolution into the blocks that Ascend's operator reads.

Interleaved, the channels of a group are y0, x0, y1, x1, ...; Ascend wants all x of all groups, then all y,
then the mask. Where a convolution makes the channels, it can make them in that order for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    is_op,
    label,
)
from graphopt.surgery.semantics.channel_sources import Channels, channels_of
from graphopt.surgery.semantics.deformable import DeformableConvolution
from graphopt.surgery.shapes.shape_inference import Inferred
from graphopt.surgery.values.derived_tensors import derive, sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class OffsetBlocks:
    """How the blocks are made.

    Attributes:
        found: the deformable convolution.
        what: in words, for the report.
        order: which channel of the offsets each of the first two blocks takes; none where they are blocks.
        maker: convolution whose channels are put in order; None where a Gather does it.
        rows: which channels of ``maker`` the blocks take; of a mask, too, that it makes.
        sigmoid: between ``maker`` and the mask; None when the mask is not made by it.
        ones: [N, C, H', W'] of a mask that is added; None when there is one, or ``maker`` makes it.
        dtype: of the offsets.
    """

    found: DeformableConvolution
    what: str
    order: tuple[int, ...]
    maker: ir.Node | None = None
    rows: tuple[int, ...] = ()
    sigmoid: ir.Node | None = None
    ones: tuple[int, ...] | None = None
    dtype: ir.DataType = ir.DataType.FLOAT

    def write(self, new: VersionedBuilder) -> ir.Value:
        """Write what makes the blocks and return them."""
        found = self.found
        if found.has_blocks:
            return found.offsets
        if self.maker is None:
            index = new.constant(np.array(self.order, np.int64), "order")
            moves = new.op("Gather", found.offsets, index, attributes={"axis": 1})
        else:
            moves = self._made_in_order(new, self.maker)
        if self.sigmoid is not None:
            moves, opened = new.split(moves, axis=1, sizes=[len(self.order), len(self.order) // 2])
            mask = new.op("Sigmoid", opened)
        elif found.mask is not None:
            mask = found.mask
        elif self.ones is not None:
            mask = new.constant(np.ones(self.ones, self.dtype.numpy()), "mask")
        else:
            return moves
        return new.op("Concat", moves, mask, attributes={"axis": 1})

    def _made_in_order(self, new: VersionedBuilder, maker: ir.Node) -> ir.Value:
        weight, bias = constant_tensor(maker.inputs[1]), constant_of(input_of(maker, 2))
        assert weight is not None
        rows, sizes = list(self.rows), sizes_of(weight)
        extra = len(self.order) // 2 if self.found.mask is None else 0

        def ordered(array: Array) -> Array:
            return np.concatenate([array[rows], np.zeros((extra, *array.shape[1:]), array.dtype)])

        kernel = derive(weight, ordered, [len(rows) + extra, *sizes[1:]])
        start = np.zeros(sizes[0], weight.dtype.numpy()) if bias is None else bias.reshape(-1)
        shift = np.concatenate([start[rows], np.ones(extra, start.dtype)])
        inputs = [maker.inputs[0], new.constant(kernel, "weight")]
        if bias is not None or extra:
            inputs.append(new.constant(shift, "bias"))
        node_attributes = {name: item.value for name, item in maker.attributes.items()}
        return new.op("Conv", *inputs, attributes=node_attributes)


def plan_blocks(
    model: ir.Model, found: DeformableConvolution, taps: int, types: Mapping[ir.Value, Inferred]
) -> OffsetBlocks | str:
    """Return how to make the blocks, or why it cannot be done (a clause).

    Args:
        model: not changed.
        found: of any spelling but ``DeformableConv2D``.
        taps: of the kernel.
        types: what is known of the model's tensors.
    """
    count = found.geometry.deformable_groups * taps
    known, wanted = types.get(found.offsets), (3 if found.has_blocks else 2) * count
    sizes = None if known is None else known.shape
    if sizes is not None and len(sizes) == 4 and isinstance(sizes[1], int) and sizes[1] != wanted:
        return f"its offsets have {sizes[1]} channels, not the {wanted} of its kernel and groups"
    if found.has_blocks:
        return OffsetBlocks(found=found, what="offsets in order already", order=())
    order = (*range(1, 2 * count, 2), *range(0, 2 * count, 2))
    folded = _folded(model, found, order, types)
    if folded is not None:
        return folded
    what = f"offsets {found.offsets.name} put in order by a Gather"
    if found.mask is not None:
        return OffsetBlocks(found=found, what=what, order=order)
    static = None if known is None else known.static
    if static is None or known is None or known.dtype is None:
        return f"the size of its offsets {found.offsets.name} is not known, so that no mask can be added"
    ones = (static[0], count, *static[2:])
    return OffsetBlocks(found=found, what=f"{what}, mask of ones", order=order, ones=ones, dtype=known.dtype)


def _folded(
    model: ir.Model,
    found: DeformableConvolution,
    order: tuple[int, ...],
    types: Mapping[ir.Value, Inferred],
) -> OffsetBlocks | None:
    """Return how the convolution that makes the offsets makes them in order; None when it cannot."""
    chosen = channels_of(model, found.offsets, types)
    maker = None if chosen is None else chosen.source.producer()
    if chosen is None or maker is None or not _can_change(maker, found.node):
        return None
    rows = tuple(chosen.picks[channel] for channel in order)
    what = f"offsets put in order in {label(maker)}"
    if found.mask is None:
        if not _feeds_only(chosen.source, found.node, chosen.nodes):
            return None
        return OffsetBlocks(found=found, what=f"{what}, mask of ones", order=order, maker=maker, rows=rows)
    sigmoid, gate = _gate(model, found.mask, types)
    if gate is not None and gate.source is chosen.source:
        passed = chosen.nodes | gate.nodes | ({sigmoid} if sigmoid is not None else set())
        if sigmoid is not None and _feeds_only(chosen.source, found.node, passed):
            return OffsetBlocks(
                found=found,
                what=f"{what}, its mask too",
                order=order,
                maker=maker,
                rows=(*rows, *gate.picks),
                sigmoid=sigmoid,
            )
        return None
    if not _feeds_only(chosen.source, found.node, chosen.nodes):
        return None
    return OffsetBlocks(found=found, what=what, order=order, maker=maker, rows=rows)


def _gate(
    model: ir.Model, mask: ir.Value, types: Mapping[ir.Value, Inferred]
) -> tuple[ir.Node | None, Channels | None]:
    """Return the Sigmoid that makes a mask, and the channels it is made from."""
    node = mask.producer()
    if node is None or not is_op(node, "Sigmoid") or node.inputs[0] is None:
        return None, channels_of(model, mask, types)
    return node, channels_of(model, node.inputs[0], types)


def _can_change(maker: ir.Node, node: ir.Node) -> bool:
    """Whether another convolution, with chosen channels, can stand for one that makes offsets."""
    bias = input_of(maker, 2)
    return (
        is_op(maker, "Conv")
        and maker.graph is node.graph
        and not has_attribute_references(maker)
        and attribute_int(maker, "group", 1) == 1
        and constant_tensor(input_of(maker, 1)) is not None
        and (bias is None or constant_tensor(bias) is not None)
    )


def _feeds_only(value: ir.Value, reader: ir.Node, between: frozenset[ir.Node]) -> bool:
    """Whether all that is made from a tensor goes through ``between`` to ``reader``."""
    pending = [value]
    while pending:
        item = pending.pop()
        if item.is_graph_output():
            return False
        for user, _ in item.uses():
            if user is reader:
                continue
            if user not in between:
                return False
            pending.extend(user.outputs)
    return True
