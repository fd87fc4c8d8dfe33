"""Rules of operators whose parameters may hold the batch: see ``batch_rules``."""

import math

from graphopt.surgery.batching.batched_node import BatchedNode, Mixed, Shape, batch_of_first_input, stay_apart
from graphopt.surgery.graph_queries import attribute_int

_TO_THE_END = 1 << 30
"""Exporters write the largest integer for an open end."""


def flatten(view: BatchedNode) -> int:
    """The batch stays in front of what it is merged with."""
    batch, axis = batch_of_first_input(view), attribute_int(view.node, "axis", 1)
    axis = axis % len(view.shape(0)) if axis < 0 else axis
    before = view.shape(0)[:batch] if batch < axis else view.shape(0)[axis:batch]
    if math.prod(before) != 1:
        raise Mixed("it merges the batch behind another axis")
    return 0 if batch < axis else 1


def reshape(view: BatchedNode) -> int:
    """Samples stay whole: what lies before the batch keeps its size, the batch leads what follows."""
    batch, before = batch_of_first_input(view), view.shape(0)
    after = view.output_shape()
    target = _batch_axis_after(view, batch, before, after)
    wanted = view.scaled(after, target)
    _, new, constant = view.sizes(1)
    if _reshaped(view.new_shape(0), new, zero_copies=not attribute_int(view.node, "allowzero", 0)) == wanted:
        return target
    if not constant:
        raise Mixed("its shape is computed and does not follow the batch")
    view.fix(1, list(wanted))
    return target


def _batch_axis_after(view: BatchedNode, batch: int, before: Shape, after: Shape) -> int:
    lead = math.prod(before[:batch])
    fits = [
        axis
        for axis in range(len(after))
        # Whole batches only: 6 samples cannot be an axis of 4.
        if math.prod(after[:axis]) == lead and after[axis] > 0 and after[axis] % view.old_batch == 0
    ]
    if not fits:
        raise Mixed(f"it turns {list(before)} into {list(after)}, which tears the samples of a batch apart")
    return batch if batch in fits else fits[0]


def _reshaped(data: Shape, spec: list[int], *, zero_copies: bool) -> Shape | None:
    sizes = [data[i] if size == 0 and zero_copies and i < len(data) else size for i, size in enumerate(spec)]
    total, rest = math.prod(data), math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        if rest == 0 or total % rest:
            return None
        return tuple(total // rest if size == -1 else size for size in sizes)
    return tuple(sizes) if rest == total else None


def expand(view: BatchedNode) -> int:
    """The batch keeps its axis; its size in a constant shape follows."""
    batch, shape = batch_of_first_input(view), view.output_shape()
    target = batch + len(shape) - len(view.shape(0))
    if shape[target] != view.shape(0)[batch]:
        raise Mixed(f"it repeats the batch to {shape[target]}")
    old, new, constant = view.sizes(1)
    own = target - (len(shape) - len(old))
    if own >= 0 and new[own] not in (1, view.new_shape(0)[batch]):
        if not constant:
            raise Mixed("its shape is computed and does not follow the batch")
        view.fix(1, [*old[:own], view.new_shape(0)[batch], *old[own + 1 :]])
    return target


def resize(view: BatchedNode) -> int:
    """Scales other axes than the batch; the batch in constant sizes follows."""
    batch, count = batch_of_first_input(view), len(view.node.inputs)
    if view.node.attributes.get("axes") is not None:
        axes = [axis % len(view.shape(0)) for axis in view.node.attributes["axes"].as_ints()]
        return batch if batch not in axes else stay_apart(view, batch, batch)
    if view.shape(0)[batch] != view.output_shape()[batch]:
        raise Mixed("it changes the size of the batch axis")
    if count > 3 and view.node.inputs[3] is not None:
        old, new, constant = view.sizes(3)
        wanted = view.new_shape(0)[batch]
        if new[batch] != wanted and not constant:
            raise Mixed("its sizes are computed and do not follow the batch")
        if new[batch] != wanted:
            view.fix(3, [*old[:batch], wanted, *old[batch + 1 :]])
    return batch


def pad(view: BatchedNode) -> int:
    """Pads other axes than the batch."""
    batch, rank = batch_of_first_input(view), len(view.shape(0))
    pads = view.ints(1 if view.opset >= 11 else -1, "pads") or []
    axes = view.ints(3) if view.opset >= 18 else None
    order = [axis % rank for axis in axes] if axes else list(range(rank))
    place = order.index(batch) if batch in order else None
    if place is not None and (pads[place] or pads[place + len(order)]):
        raise Mixed("it pads the batch axis")
    return batch


def tile(view: BatchedNode) -> int:
    """Repeats other axes than the batch."""
    batch, repeats = batch_of_first_input(view), view.ints(1)
    if repeats is None or repeats[batch] != 1:
        raise Mixed("it repeats the batch")
    return batch


def slice_(view: BatchedNode) -> int:
    """Takes a part of other axes than the batch; the whole batch may be taken."""
    batch, rank = batch_of_first_input(view), len(view.shape(0))
    old = view.opset < 10
    starts = view.ints(-1 if old else 1, "starts") or []
    ends = view.ints(-1 if old else 2, "ends") or []
    axes = view.ints(-1 if old else 3, "axes") or list(range(len(starts)))
    steps = (None if old else view.ints(4)) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis % rank == batch and not (start == 0 and step == 1 and end > _TO_THE_END):
            raise Mixed(f"it takes {start}:{end} of the batch")
    return batch
