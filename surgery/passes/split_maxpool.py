"""The pass ``split_maxpool``."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.semantics.windows import Window, window_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True, eq=False)
class _Split(Site):
    """A pool and the two that do the same."""

    first: Window
    second: Window


@dataclass(frozen=True, kw_only=True)
class SplitMaxpool(GraphPass):
    """Split max pools with a larger window than the target has into two smaller ones.

    Why: on Ascend a window of more than 256 elements, or more than 255 along an axis, makes the pool run
    on the CPU of the chip; text networks pool over a whole sentence.
    Before: ``x -> MaxPool(kernel 20, stride 1)``.
    After: ``x -> MaxPool(kernel 11, stride 1) -> MaxPool(kernel 10, stride 1)``: a maximum of maxima, so
    any kernel falls into two; windows that do not overlap are split without overlap.
    Seen in: sentence_net.
    Known as: pool-rewrite (32).

    Attributes:
        max_area: the most elements under a window that stays.
        max_side: the largest window along an axis that stays.
    """

    name: ClassVar[str] = "split_maxpool"
    max_area: int = 256
    max_side: int = 255

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every pool beyond a limit; see ``GraphPass.sites``."""
        large = [node for node in nodes_of(model, "MaxPool") if self._is_large(node)]
        types = infer_types(model) if large else {}
        for node in large:
            found = self._split(node, types)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the two pools, one behind the other."""
        source, output = site.node.inputs[0], site.node.outputs[0]
        if not isinstance(site, _Split) or site.node.graph is None or source is None:
            return
        new = VersionedBuilder(model, site.node)
        part = new.op("MaxPool", source, attributes=site.first.attributes("MaxPool"))
        part.type = output.type
        new.replace(new.op("MaxPool", part, attributes=site.second.attributes("MaxPool"), like=output))

    def _is_large(self, node: ir.Node) -> bool:
        attribute = node.attributes.get("kernel_shape")
        if attribute is None or attribute.is_ref():
            return attribute is not None
        kernel = attribute.as_ints()
        return max(kernel) > self.max_side or math.prod(kernel) > self.max_area

    def _split(self, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> _Split | str:
        known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
        sizes = None if known is None or known.shape is None else known.shape[2:]
        window = window_of(node, sizes)
        if isinstance(window, str):
            return window
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            return "it also gives indices"
        if window.ceil_mode:
            return "ceil_mode counts a partial window at the end, or may do so"
        if set(window.dilations) != {1}:
            return "it is dilated"
        if not window.fits(sizes):
            return "its window is larger than its padded input"
        if self.max_side < 2 or self.max_area < 2:
            return f"no window of at most {self.max_area} elements and {self.max_side} a side is smaller"
        axis = max(range(window.rank), key=lambda item: window.kernel[item])
        first, second = _halves(window, axis)
        what = f"kernel {list(window.kernel)} -> {list(first.kernel)} and {list(second.kernel)}"
        return _Split(node=node, what=what, first=first, second=second)


def _halves(window: Window, axis: int) -> tuple[Window, Window]:
    """Split the window along one axis; the second has one element along it, or few, per window."""
    taps, stride = window.kernel[axis], window.strides[axis]
    ones, zeros = [1] * window.rank, [0] * window.rank
    apart = _apart(taps, stride) if not (window.begins[axis] or window.ends[axis]) else 1
    kernel, strides, begins, ends = (list(ones), list(ones), list(zeros), list(zeros))
    kernel[axis] = apart if apart > 1 else taps // 2 + 1  # of two taps both, which leaves the other axes
    strides[axis] = apart
    # The padding stays with the first pool: its own padding must be smaller than its kernel, so it is
    # shared where it is larger; what the second pads is minus infinity too.
    begins[axis] = min(window.begins[axis], kernel[axis] - 1)
    ends[axis] = min(window.ends[axis], kernel[axis] - 1)
    first = replace(
        window, kernel=tuple(kernel), strides=tuple(strides), begins=tuple(begins), ends=tuple(ends)
    )
    rest, steps = list(window.kernel), list(window.strides)
    rest[axis] = taps // apart if apart > 1 else taps - kernel[axis] + 1
    steps[axis] = stride // apart
    left = [pad - used for pad, used in zip(window.begins, begins, strict=True)]
    right = [pad - used for pad, used in zip(window.ends, ends, strict=True)]
    second = replace(window, kernel=tuple(rest), strides=tuple(steps), begins=tuple(left), ends=tuple(right))
    return first, second


def _apart(taps: int, stride: int) -> int:
    """Return the part of a kernel that divides kernel and stride and is next to the root of the kernel."""
    common = math.gcd(taps, stride)
    divisors = [item for item in range(2, common + 1) if common % item == 0 and item < taps]
    return min(divisors, key=lambda item: abs(item - math.isqrt(taps)), default=1)
