"""The pass ``split_large_kernel``."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import attribute_int, constant_tensor, input_of, nodes_of
from graphopt.surgery.semantics.windows import Window, window_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.values.derived_tensors import derive, sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Some taps of a kernel along one axis, and the window they are on the whole input.

    Attributes:
        taps: first tap, and one behind the last.
        window: its padding may be negative: then the input is cut instead.
    """

    taps: tuple[int, int]
    window: Window


@dataclass(frozen=True, kw_only=True, eq=False)
class _Split(Site):
    """A convolution and the pieces its kernel falls into along ``axis`` (spatial, 0 first)."""

    axis: int
    pieces: tuple[_Piece, ...]


@dataclass(frozen=True, kw_only=True)
class SplitLargeKernel(GraphPass):
    """Split convolutions with a larger kernel than the target has into a sum of smaller ones.

    Why: Ascend's Conv takes kernels up to 255 along an axis; other targets are slow far below that.
    Before: ``x -> Conv(31x31)``.
    After: ``x -> Slice -> Conv(16x31)`` and ``x -> Slice -> Conv(15x31)``, summed by ``Add``; no Slice
    where padding can express the shift.
    Seen in: spectrogram_net, large_kernel_net.
    Known as: KnowledgeSplitLargeKernelConv.

    Attributes:
        max_kernel: the largest kernel size along an axis that stays.
    """

    name: ClassVar[str] = "split_large_kernel"
    max_kernel: int = 255

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Conv`` with a larger kernel, one axis at a time; see ``GraphPass.sites``."""
        large = [node for node in nodes_of(model, "Conv") if self._large_axis(node) is not None]
        types = infer_types(model) if large else {}
        for node in large:
            found = self._split(node, types)
            yield Declined(node=node, why=found) if isinstance(found, str) else found

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one convolution per piece; the bias goes into the first."""
        weight = constant_tensor(input_of(site.node, 1))
        source = site.node.inputs[0]
        if not isinstance(site, _Split) or site.node.graph is None or weight is None or source is None:
            return
        new, node = VersionedBuilder(model, site.node), site.node
        old_weight, group = node.inputs[1], attribute_int(node, "group", 1)
        total: ir.Value | None = None
        for piece in site.pieces:
            cut, window = _cut(new, source, piece.window)
            kernel = new.constant(_taps_of(weight, site.axis, piece.taps), "weight")
            bias = [input_of(node, 2)] if total is None and input_of(node, 2) is not None else []
            attributes = {**window.attributes("Conv"), "group": group}
            part = new.op("Conv", cut, kernel, *bias, attributes=attributes, like=node.outputs[0])
            total = part if total is None else new.op("Add", total, part, like=node.outputs[0])
        if total is not None:
            new.replace(total)
        remove_unread(model, [value for value in (old_weight,) if value is not None])

    def _large_axis(self, node: ir.Node) -> int | None:
        weight = constant_tensor(input_of(node, 1))
        kernel = None if weight is None else sizes_of(weight)[2:]
        if kernel is None:
            attribute = node.attributes.get("kernel_shape")
            kernel = [] if attribute is None or attribute.is_ref() else list(attribute.as_ints())
        return next((axis for axis, taps in enumerate(kernel) if taps > self.max_kernel), None)

    def _split(self, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> _Split | str:
        if self.max_kernel < 1:
            return f"max_kernel is {self.max_kernel}; it must be 1 or more"
        if constant_tensor(input_of(node, 1)) is None:
            return "its weight is computed at run time"
        known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
        sizes = None if known is None or known.shape is None else known.shape[2:]
        window, axis = window_of(node, sizes), self._large_axis(node)
        if isinstance(window, str) or axis is None:
            return window if isinstance(window, str) else "its kernel is small"
        if not window.fits(sizes):
            return "its kernel is larger than its padded input"
        size = sizes[axis] if sizes is not None else None
        pieces = _pieces(window, axis, self.max_kernel)
        if not isinstance(size, int):
            if any(window.begins[axis : axis + 1]) or any(window.ends[axis : axis + 1]):
                return "it pads, and the size of its input is not known; run static_shapes first"
        else:
            pieces = [piece for piece in pieces if _meets_input(piece.window, axis, size)]
        what = (
            f"kernel {window.kernel[axis]} -> {' + '.join(str(b - a) for a, b in (p.taps for p in pieces))}"
        )
        return _Split(node=node, what=what, axis=axis, pieces=tuple(pieces))


def _pieces(window: Window, axis: int, limit: int) -> list[_Piece]:
    taps, step = window.kernel[axis], window.dilations[axis]
    count = -(-taps // limit)
    bounds = [-(-taps * index // count) for index in range(count + 1)]
    pieces = []
    for first, end in itertools.pairwise(bounds):
        kernel, begins, ends = list(window.kernel), list(window.begins), list(window.ends)
        kernel[axis] = end - first
        begins[axis] -= first * step
        ends[axis] -= (taps - end) * step
        shifted = replace(window, kernel=tuple(kernel), begins=tuple(begins), ends=tuple(ends))
        pieces.append(_Piece(taps=(first, end), window=shifted))
    return pieces


def _meets_input(window: Window, axis: int, size: int) -> bool:
    """Whether the piece sees anything but padding; one that does not adds zero."""
    return max(0, -window.begins[axis]) + max(0, -window.ends[axis]) < size


def _cut(new: VersionedBuilder, source: ir.Value, window: Window) -> tuple[ir.Value, Window]:
    axes, starts, ends = [], [], []
    for axis, (before, behind) in enumerate(zip(window.begins, window.ends, strict=True)):
        if before < 0 or behind < 0:
            axes.append(axis + 2)
            starts.append(max(0, -before))
            ends.append(behind if behind < 0 else 2**31 - 1)
    if not axes:
        return source, window
    kept = window.padded([max(0, pad) for pad in window.begins], [max(0, pad) for pad in window.ends])
    return new.slice(source, axes=axes, starts=starts, ends=ends), kept


def _taps_of(weight: ir.TensorProtocol, axis: int, taps: tuple[int, int]) -> ir.LazyTensor:
    shape = sizes_of(weight)
    shape[axis + 2] = taps[1] - taps[0]
    index = (slice(None),) * (axis + 2) + (slice(*taps),)

    def cut(array: Array) -> Array:
        return array[index]

    return derive(weight, cut, shape)
