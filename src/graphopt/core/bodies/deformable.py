"""Deformable convolution written with standard operators, for every spelling of it.

Each kernel tap of each output cell samples the image at a moved point, between the four nearest pixels:
``sum_k w_k * m_k * image(p + p_k + d_k)`` (Dai et al., arXiv 1703.06211, equation 2; the mask ``m`` is that
of Zhu et al., arXiv 1811.11168, equation 1). Pixels outside the image are zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.versioned_ops import VersionedOps

Pair = tuple[int, int]
FIRST_OPSET = 11
"""With Range, and Pad as an operator of two inputs."""
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where a deformable convolution would sample if nothing were moved.

    Attributes:
        strides: of height and width, like the others.
        pads: in front; those behind are told by the size of the offsets.
        dilations: distance of the kernel's taps.
        groups: of input and output channels that see only each other.
        deformable_groups: of input channels that are moved alike.
    """

    strides: Pair
    pads: Pair
    dilations: Pair
    groups: int
    deformable_groups: int


class Points(NamedTuple):
    """What moves the sampling points, each float [N, H', W', kh, kw, deformable groups].

    Attributes:
        y: shift downwards, in pixels.
        x: shift to the right, in pixels.
        mask: factor of what is sampled; None for one.
    """

    y: ir.Value
    x: ir.Value
    mask: ir.Value | None


class _Axis(NamedTuple):
    """Samples along one axis: the lower of two neighbours in the padded image, and the weight of both."""

    low: ir.Value
    low_weight: ir.Value
    high_weight: ir.Value


class DeformableBody:
    """Writes a deformable convolution; sizes are asked for at run time, so that one body serves all of them.

    The image gets a border of zeros and its channels last; the rows of the four corners are gathered,
    weighted and summed to columns, which one product with the weight turns into the output. In onnxruntime
    this was faster than one gather of all corners and a product, than RoiAlign, and than PyTorch.

    Args:
        new: where to write.
        geometry: of the call.
        image: [N, C, H, W]; float16 is computed in float32, as all that follows.
        weight: [O, C / groups, kh, kw].
        offsets: [N, any, H', W'].
        dtype: of all of them.

    Raises:
        PreconditionError: the opset is too old.
    """

    def __init__(
        self,
        new: VersionedOps,
        geometry: Geometry,
        *,
        image: ir.Value,
        weight: ir.Value,
        offsets: ir.Value,
        dtype: ir.DataType,
    ) -> None:
        if new.opset < FIRST_OPSET:
            raise PreconditionError(
                f"deformable convolution is written out for opset {FIRST_OPSET} and up, this is {new.opset}"
            )
        self._new = new
        self._geometry = geometry
        self._dtype = dtype
        self._inner = ir.DataType.FLOAT if dtype in _HALVES else dtype
        self._image, self._weight, self._offsets = (self.wide(item) for item in (image, weight, offsets))
        self._image_sizes, self._weight_sizes, self._out_sizes = (
            new.op("Shape", item) for item in (image, weight, offsets)
        )
        self._kernel = self._cut(self._weight_sizes, 2, 4)

    def wide(self, value: ir.Value) -> ir.Value:
        """Return a tensor in the dtype that is computed in."""
        return value if self._inner == self._dtype else self._new.cast(value, self._inner)

    def interleaved(self, mask: ir.Value | None) -> Points:
        """Read offsets as PyTorch's and ONNX's operators have them: y and x of a tap side by side.

        Args:
            mask: [N, deformable groups * kh * kw, H', W'], or None.
        """
        moves = self._taps_last(self._offsets, [None, 2])
        factor = None if mask is None else self._taps_last(self.wide(mask), [None])
        return Points(y=self._pick(moves, 0), x=self._pick(moves, 1), mask=factor)

    def in_blocks(self) -> Points:
        """Read offsets as Ascend's operator has them: all x, then all y, then the mask."""
        moves = self._taps_last(self._offsets, [3, None])
        return Points(x=self._pick(moves, 0), y=self._pick(moves, 1), mask=self._pick(moves, 2))

    def output(self, points: Points, bias: ir.Value | None) -> ir.Value:
        """Return the convolution of what lies at the points, [N, O, H', W'], in the dtype of the inputs."""
        new = self._new
        flat = self._product(self._columns(points))
        if bias is not None:
            flat = new.op("Add", flat, self.wide(bias))
        batch, cells = self._cut(self._out_sizes, 0, 1), self._cut(self._out_sizes, 2, 4)
        cells_last = new.op("Reshape", flat, self._join(batch, cells, [-1]))
        result = new.op("Transpose", cells_last, attributes={"perm": [0, 3, 1, 2]})
        return result if self._inner == self._dtype else new.cast(result, self._dtype)

    def _taps_last(self, value: ir.Value, before: list[int | None]) -> ir.Value:
        """Split the channels into ``before`` (None: the deformable groups, then the taps) and turn the axes.

        Returns:
            [blocks, N, H', W', kh, kw, deformable groups], without ``blocks`` when ``before`` has none.
        """
        new, groups = self._new, self._geometry.deformable_groups
        sizes: list[ir.Value | list[int]] = [[0]]
        axes = ["n"]
        for size in before:
            sizes.extend([[size]] if size is not None else [[groups], self._kernel])
            axes.extend(["block"] if size is not None else ["group", "kh", "kw"])
        sizes.append(self._cut(self._out_sizes, 2, 4))
        axes.extend(["h", "w"])
        split = new.op("Reshape", value, self._join(*sizes))
        wanted = ["block", "n", "h", "w", "kh", "kw", "group"]
        perm = [axes.index(axis) for axis in wanted if axis in axes]
        return new.op("Transpose", split, attributes={"perm": perm})

    def _columns(self, points: Points) -> ir.Value:
        """Return what is sampled, [N, H', W', kh, kw, deformable groups, C / deformable groups]."""
        new, groups = self._new, self._geometry.deformable_groups
        # One row and column of zeros in front; two behind, as the corner beyond the last zero is read, too.
        bordered = new.pad(self._image, [0, 0, 1, 1, 0, 0, 2, 2])
        channels_last = new.op("Transpose", bordered, attributes={"perm": [0, 2, 3, 1]})
        channels = new.op("Div", self._cut(self._image_sizes, 1, 2), new.integers([groups]))
        pixels = new.op("Reshape", channels_last, self._join([-1], channels))
        rows = new.op("Add", self._cut(self._image_sizes, 2, 3), new.integers([3]))
        width = new.op("Add", self._cut(self._image_sizes, 3, 4), new.integers([3]))
        y, x = self._axis(points.y, 0), self._axis(points.x, 1)
        first = new.op("Add", new.op("Mul", y.low, width), x.low)
        if groups > 1:
            first = new.op("Mul", first, new.integers([groups]))
            first = new.op("Add", first, new.integers(range(groups)))
        first = new.op("Add", first, self._image_starts(new.op("Mul", rows, width)))
        below = new.op("Mul", width, new.integers([groups]))
        right = new.integers([groups])
        steps = (None, right, below, new.op("Add", below, right))
        factors = (
            (y.low_weight, x.low_weight),
            (y.low_weight, x.high_weight),
            (y.high_weight, x.low_weight),
            (y.high_weight, x.high_weight),
        )
        total: ir.Value | None = None
        for step, (vertical, horizontal) in zip(steps, factors, strict=True):
            index = first if step is None else new.op("Add", first, step)
            corner = new.op("Gather", pixels, index, attributes={"axis": 0})
            share = new.op("Mul", vertical, horizontal)
            if points.mask is not None:
                share = new.op("Mul", share, points.mask)
            part = new.op("Mul", corner, new.unsqueeze(share, [6]))
            total = part if total is None else new.op("Add", total, part)
        assert total is not None
        return total

    def _axis(self, moves: ir.Value, axis: int) -> _Axis:
        """Find the neighbours of points along height (0) or width (1)."""
        new, geometry = self._new, self._geometry
        cells = self._pick(self._out_sizes, axis + 2)
        start, stride = -geometry.pads[axis], geometry.strides[axis]
        end = new.op("Add", new.op("Mul", cells, self._number(stride)), self._number(start))
        corners = new.op("Range", self._number(start), end, self._number(stride))
        step = geometry.dilations[axis]
        reach = new.op("Mul", self._pick(self._weight_sizes, axis + 2), self._number(step))
        taps = new.op("Range", self._number(0), reach, self._number(step))
        # Behind the axis in [N, H', W', kh, kw, groups] follow so many others.
        still = new.op(
            "Add",
            new.reshape(corners, [-1] + [1] * (4 - axis)),
            new.reshape(taps, [-1] + [1] * (2 - axis)),
        )
        place = new.op("Add", new.cast(still, self._inner), moves)
        size = new.cast(self._pick(self._image_sizes, axis + 2), self._inner)
        # Further out there are only zeros, too. What is no number stays none.
        place = new.op("Max", new.op("Min", place, size), self._float(-1))
        low = new.op("Floor", place)
        high_weight = new.op("Sub", place, low)
        low_weight = new.op("Sub", self._float(1), high_weight)
        known = new.op("Where", new.op("IsNaN", low), self._float(-1), low)
        index = new.cast(new.op("Add", known, self._float(1)), ir.DataType.INT64)
        return _Axis(low=index, low_weight=low_weight, high_weight=high_weight)

    def _image_starts(self, pixels: ir.Value) -> ir.Value:
        """Return the first row of each image of the batch, [N, 1, 1, 1, 1, 1]."""
        new, groups = self._new, self._geometry.deformable_groups
        batch = self._pick(self._image_sizes, 0)
        numbers = new.op("Range", self._number(0), batch, self._number(1))
        per_image = new.op("Mul", pixels, new.integers([groups]))
        return new.reshape(new.op("Mul", numbers, per_image), [-1, 1, 1, 1, 1, 1])

    def _product(self, columns: ir.Value) -> ir.Value:
        """Return ``columns`` times the weight, [N * H' * W', O]."""
        new, groups = self._new, self._geometry.groups
        flat = new.op("Flatten", columns, attributes={"axis": 3})
        if groups == 1:
            taps_first = new.op("Transpose", self._weight, attributes={"perm": [2, 3, 1, 0]})
            return new.op("MatMul", flat, new.op("Flatten", taps_first, attributes={"axis": 3}))
        rest = self._cut(self._weight_sizes, 1, 4)
        split = new.op("Reshape", self._weight, self._join([groups, -1], rest))
        turned = new.op("Transpose", split, attributes={"perm": [0, 3, 4, 2, 1]})
        taps = new.op("Mul", self._cut(self._kernel, 0, 1), self._cut(self._kernel, 1, 2))
        inner = self._cut(self._weight_sizes, 1, 2)
        matrices = new.op("Reshape", turned, self._join([groups], new.op("Mul", taps, inner), [-1]))
        by_group = new.op("Reshape", flat, self._join([-1], taps, [groups], inner))
        groups_first = new.op("Transpose", by_group, attributes={"perm": [2, 0, 1, 3]})
        products = new.op("MatMul", new.reshape(groups_first, [0, 0, -1]), matrices)
        cells_first = new.op("Transpose", products, attributes={"perm": [1, 0, 2]})
        return new.op("Flatten", cells_first, attributes={"axis": 1})

    def _pick(self, value: ir.Value, index: int) -> ir.Value:
        return self._new.op("Gather", value, self._number(index), attributes={"axis": 0})

    def _cut(self, sizes: ir.Value, start: int, end: int) -> ir.Value:
        return self._new.slice(sizes, axes=[0], starts=[start], ends=[end])

    def _join(self, *parts: ir.Value | Sequence[int]) -> ir.Value:
        new = self._new
        values = [part if isinstance(part, ir.Value) else new.integers(part) for part in parts]
        return new.op("Concat", *values, attributes={"axis": 0})

    def _number(self, number: int) -> ir.Value:
        return self._new.constant(np.array(number, dtype=np.int64), "number")

    def _float(self, number: float) -> ir.Value:
        return self._new.constant(np.array(number, dtype=self._inner.numpy()), "number")
