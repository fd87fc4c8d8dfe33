"""What a ``Slice`` takes along each axis, how two of them compose, and how it is written."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.graph_queries import has_attribute_references, input_of, ints_of
from graphopt.surgery.versioned_builder import VersionedBuilder

FAR = 2**31 - 1
"""Ends from here on mean "to the end": exporters write INT_MAX or INT64_MAX."""
_FIRST_WITH_INPUTS = 10


@dataclass(frozen=True)
class Cut:
    """What is taken along one axis, as ``start:end:step`` of Python, where the end is never left out."""

    start: int
    end: int
    step: int = 1

    def indices(self, size: int) -> range:
        """Return the indices taken from an axis of ``size``."""
        return self.of(range(size))

    def of(self, taken: range) -> range:
        """Return what is taken from what was taken before."""
        # Python's ends below the first element differ from -1, which counts from the end.
        runs_out = self.step < 0 and self.end < -len(taken)
        return taken[self.start :: self.step] if runs_out else taken[self.start : self.end : self.step]


def cuts_of(node: ir.Node, opset: int, rank: int | None) -> dict[int, Cut] | str:
    """Return what a ``Slice`` takes, by axis; a clause where that cannot be told.

    Args:
        node: a ``Slice``.
        opset: of the node.
        rank: of its input; None when unknown, then axes must be given from the front.
    """
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    if opset < _FIRST_WITH_INPUTS:
        starts, ends = (list(node.attributes[name].as_ints()) for name in ("starts", "ends"))
        named = node.attributes.get("axes")
        axes = list(range(len(starts))) if named is None else list(named.as_ints())
        steps = [1] * len(starts)
    else:
        given = [ints_of(input_of(node, index)) for index in range(1, 5)]
        if any(found is None and input_of(node, i) is not None for i, found in enumerate(given, start=1)):
            return "what it takes is computed at run time"
        starts, ends = given[0] or [], given[1] or []
        axes = given[2] if given[2] is not None else list(range(len(starts)))
        steps = given[3] if given[3] is not None else [1] * len(starts)
    if any(axis < 0 for axis in axes):
        if rank is None:
            return "its axes count from the end of a tensor of unknown rank"
        axes = [axis % rank for axis in axes]
    return {axis: Cut(*cut) for axis, *cut in zip(axes, starts, ends, steps, strict=True)}


def compose(first: Cut, second: Cut, size: int | None) -> Cut | None:
    """Return what ``second`` after ``first`` takes, or None when one ``Slice`` cannot say it.

    Args:
        first: applied to the axis.
        second: applied to what the first takes.
        size: of the axis; None when unknown, then the answer holds for every size.
    """
    if size is not None:
        return _cut(second.of(first.indices(size)))
    if min(first.start, second.start) < 0 or min(first.step, second.step) < 1:
        return None
    start, step = first.start + second.start * first.step, first.step * second.step
    if second.end >= FAR:
        return Cut(start, first.end, step)
    if second.end >= 0 and first.end >= 0:
        return Cut(start, min(first.end, first.start + second.end * first.step), step)
    if second.end < 0 and first.step == 1 and (first.end >= FAR or first.end < 0):
        return Cut(start, second.end + (first.end if first.end < 0 else 0), step)
    return None


def write_slice(builder: VersionedBuilder, source: ir.Value, cuts: Mapping[int, Cut]) -> ir.Value:
    """Write one ``Slice``; ``steps`` only where one is not 1.

    Args:
        builder: writes in front of the node that gives way.
        source: what is cut.
        cuts: by axis; steps other than 1 need opset 10.
    """
    axes = sorted(cuts)
    starts, ends, steps = ([getattr(cuts[axis], part) for axis in axes] for part in ("start", "end", "step"))
    if all(step == 1 for step in steps):
        return builder.slice(source, axes=axes, starts=starts, ends=ends)
    lists = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    made = builder.op("Slice", source, *(builder.integers(values, name) for name, values in lists.items()))
    made.type = source.type
    return made


def _cut(taken: range) -> Cut:
    if not taken:
        return Cut(0, 0)
    if len(taken) == 1:
        return Cut(taken[0], taken[0] + 1)
    end = taken[-1] + (1 if taken.step > 0 else -1)
    # An end in front of the first element cannot be written as -1, which counts from the end.
    return Cut(taken[0], end if end >= 0 else -FAR, taken.step)
