"""The pass ``split_avgpool``."""

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
    """A pool and the two that do the same; a None for ``second`` is the mean over all that is left."""

    first: Window
    second: Window | None


@dataclass(frozen=True, kw_only=True)
class SplitAvgpool(GraphPass):
    """Split average pools with a larger window than the target has into two smaller ones.

    Why: on Ascend a window of more than 256 elements, more than 255 along an axis, or a stride of
    more than 63, makes the pool run on the CPU of the chip.
    Before: ``x -> AveragePool(kernel 32, stride 32)``, or ``GlobalAveragePool`` of a large map.
    After: ``x -> AveragePool(kernel 2, stride 2) -> AveragePool(kernel 16, stride 16)``; the last one
    stays ``GlobalAveragePool`` where it was.
    Seen in: nas_fpn, pooled_scene_net.
    Known as: pool-rewrite (32), KnowledgeAvgPoolSplit.

    Attributes:
        max_area: the most elements under a window that stays.
        max_side: the largest window along an axis that stays.
        max_stride: the largest stride that stays.
    """

    name: ClassVar[str] = "split_avgpool"
    max_area: int = 256
    max_side: int = 255
    max_stride: int = 63

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every pool beyond a limit; see ``GraphPass.sites``."""
        pools = list(nodes_of(model, "AveragePool", "GlobalAveragePool"))
        types = infer_types(model) if pools else {}
        for node in pools:
            window = _window(node, types)
            if window is None or self._fits(window):
                continue
            if isinstance(window, str):
                if not self._has_small_kernel(node):
                    yield Declined(node=node, why=window)
                continue
            found = self._split(node, window, types)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write the two pools, one behind the other."""
        source = site.node.inputs[0]
        if not isinstance(site, _Split) or site.node.graph is None or source is None:
            return
        new, output = VersionedBuilder(model, site.node), site.node.outputs[0]
        part = new.op("AveragePool", source, attributes=site.first.attributes("AveragePool"))
        part.type = output.type
        if site.second is None:
            whole = new.op("GlobalAveragePool", part, like=output)
        else:
            whole = new.op("AveragePool", part, attributes=site.second.attributes("AveragePool"), like=output)
        new.replace(whole)

    def _fits(self, window: Window | str) -> bool:
        if isinstance(window, str):
            return False
        small = max(window.kernel) <= self.max_side and math.prod(window.kernel) <= self.max_area
        return small and max(window.strides) <= self.max_stride

    def _has_small_kernel(self, node: ir.Node) -> bool:
        attribute = node.attributes.get("kernel_shape")
        if attribute is None or attribute.is_ref():
            return False
        return math.prod(attribute.as_ints()) <= self.max_area

    def _split(self, node: ir.Node, window: Window, types: Mapping[ir.Value, Inferred]) -> _Split | str:
        if set(window.dilations) != {1}:
            return "it is dilated"
        if window.is_padded:
            return "it pads, so its windows do not fall into equal parts"
        sizes = _spatial_sizes(node, types)
        if not window.fits(sizes):
            return "its window is larger than its input"
        if window.ceil_mode and not _ends_evenly(window, sizes):
            return "ceil_mode counts a partial window at the end, or may do so"
        strides = list(window.strides)
        for axis in range(window.rank):
            size = None if sizes is None else sizes[axis]
            if isinstance(size, int) and window.output(axis, size) == 1:
                strides[axis] = window.kernel[axis]  # a single window may take any step
        window = replace(window, strides=tuple(strides), ceil_mode=False)
        part = self._best_part(window)
        if part is None:
            return f"no part of its kernel {list(window.kernel)} divides kernel and strides {strides} evenly"
        first = replace(window, kernel=part, strides=part)
        second = replace(
            window,
            kernel=tuple(k // p for k, p in zip(window.kernel, part, strict=True)),
            strides=tuple(s // p for s, p in zip(strides, part, strict=True)),
        )
        what = f"kernel {list(window.kernel)} -> {list(first.kernel)} and {list(second.kernel)}"
        is_global = node.op_type == "GlobalAveragePool"
        return _Split(node=node, what=what, first=first, second=None if is_global else second)

    def _best_part(self, window: Window) -> tuple[int, ...] | None:
        """Return the first pool's kernel: one that fits, and leaves least for the second."""
        parts: list[tuple[int, ...]] = [()]
        for taps, stride in zip(window.kernel, window.strides, strict=True):
            common = math.gcd(taps, stride)
            divisors = [item for item in range(1, min(common, self.max_side) + 1) if common % item == 0]
            parts = [(*part, item) for part in parts for item in divisors]
        fitting = [
            part
            for part in parts
            if 1 < math.prod(part) <= self.max_area and max(part) <= min(self.max_side, self.max_stride)
        ]
        return max(
            fitting, key=lambda part: (self._leaves_enough(window, part), math.prod(part)), default=None
        )

    def _leaves_enough(self, window: Window, part: tuple[int, ...]) -> bool:
        left = replace(
            window,
            kernel=tuple(k // p for k, p in zip(window.kernel, part, strict=True)),
            strides=tuple(s // p for s, p in zip(window.strides, part, strict=True)),
        )
        return self._fits(left)


def _spatial_sizes(node: ir.Node, types: Mapping[ir.Value, Inferred]) -> tuple[int | str | None, ...] | None:
    known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
    return None if known is None or known.shape is None else known.shape[2:]


def _window(node: ir.Node, types: Mapping[ir.Value, Inferred]) -> Window | str | None:
    sizes = _spatial_sizes(node, types)
    if node.op_type == "AveragePool":
        return window_of(node, sizes)
    whole = [size for size in sizes or () if isinstance(size, int)]
    if sizes is None or not whole or len(whole) != len(sizes):
        return None
    nothing = (0,) * len(whole)
    kernel, ones = tuple(whole), (1,) * len(whole)
    return Window(kernel=kernel, strides=ones, dilations=ones, begins=nothing, ends=nothing)


def _ends_evenly(window: Window, sizes: tuple[int | str | None, ...] | None) -> bool:
    if sizes is None:
        return False
    return all(
        isinstance(size, int) and (size - taps) % stride == 0
        for size, taps, stride in zip(sizes, window.kernel, window.strides, strict=True)
    )
