"""Pool regions of feature pyramids in standard operators, as PyTorch does.

``RoiAlign`` before opset 16 makes every region one cell large at least. Aligned pooling in PyTorch does
not, so a region with a smaller side gets a window of three whole cells there: sampled at the three
cells' centres, it holds all that bilinear interpolation between them needs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from graphopt.core.versioned_ops import Attribute, VersionedOps

HALF_PIXEL_SINCE = 16
"""Opset in which ``RoiAlign`` got the shift by half a cell, and then forces no size."""
EPSILON = 1e-6
"""mmdet adds it before the logarithm, so that exact powers of two belong to the coarser level."""
_CELLS = 3
"""A side below one cell touches the cells on both ends and at most one between them."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How regions are pooled.

    Attributes:
        height: bins along y.
        width: bins along x.
        samples: per bin and axis; 0 is ``ceil(side / bins)``.
        aligned: whether regions are shifted by half a cell, and may be smaller than one.
    """

    height: int
    width: int
    samples: int
    aligned: bool


@dataclass
class RegionPooler:
    """Collects pooled regions, level by level.

    Args:
        new: where to write.
        rois: float32 [R, 5]; index in the batch, x1, y1, x2, y2 in pixels of the image.
        pooling: how.
    """

    new: VersionedOps
    rois: ir.Value
    pooling: Pooling
    _pooled: list[ir.Value] = field(default_factory=list)
    _places: list[ir.Value] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._images = self.new.cast(_column(self.new, self.rois, 0), ir.DataType.INT64)
        self._boxes = _columns(self.new, self.rois, 1, 5)

    def levels(self, count: int, finest: float) -> list[ir.Value]:
        """Return for each level which regions belong to it, bool [R]: ``floor(log2(side / finest))``.

        A region without a size (an area below zero) belongs to none.
        """
        new = self.new
        sides = new.op("Sub", _columns(new, self._boxes, 2, 4), _columns(new, self._boxes, 0, 2))
        area = new.op("Mul", _column(new, sides, 0), _column(new, sides, 1))
        scale = new.op("Div", new.op("Sqrt", area), _float(new, finest))
        log = new.op("Log", new.op("Add", scale, _float(new, EPSILON)))
        level = new.op("Floor", new.op("Div", log, _float(new, math.log(2))))
        level = new.op("Clip", level, _float(new, 0), _float(new, count - 1))
        return [new.op("Equal", level, _float(new, index)) for index in range(count)]

    def add(self, features: ir.Value, scale: float, here: ir.Value | None) -> None:
        """Pool the regions of one level.

        Args:
            features: float32 [N, C, H, W].
            scale: cells per pixel.
            here: which regions, bool [R]; None is all.
        """
        if not self.pooling.aligned:
            mode: dict[str, str] = {}
            if self.new.opset >= HALF_PIXEL_SINCE:
                mode["coordinate_transformation_mode"] = "output_half_pixel"
            self._take(features, self._boxes, here, scale, **mode)
            return
        new = self.new
        cells = new.op("Sub", new.op("Mul", self._boxes, _float(new, scale)), _float(new, 0.5))
        sides = new.op("Sub", _columns(new, cells, 2, 4), _columns(new, cells, 0, 2))
        # Without a size no sample is taken; what is inside out, PyTorch refuses. Both give zeros.
        nothing = new.op("Less", sides, _float(new, 0))
        if not self.pooling.samples:
            nothing = new.op("Or", nothing, new.op("Equal", sides, _float(new, 0)))
        sized = new.op("Not", new.op("Or", _column(new, nothing, 0), _column(new, nothing, 1)))
        here = sized if here is None else new.op("And", here, sized)
        if new.opset >= HALF_PIXEL_SINCE:
            self._take(features, self._boxes, here, scale, coordinate_transformation_mode="half_pixel")
            return
        small = new.op("Less", sides, _float(new, 1))
        narrow, low = _column(new, small, 0), _column(new, small, 1)
        wide, high = new.op("Not", narrow), new.op("Not", low)
        self._take(features, cells, new.op("And", here, new.op("And", wide, high)), 1.0)
        for is_narrow, is_low in ((True, False), (False, True), (True, True)):
            mine = new.op("And", narrow if is_narrow else wide, low if is_low else high)
            self._take_small(features, cells, new.op("And", here, mine), narrow=is_narrow, low=is_low)

    def result(self) -> ir.Value:
        """Return all regions in the order of ``rois``, float32 [R, C, height, width].

        A region that no level took is zero.
        """
        new = self.new
        if not self._places:
            return self._pooled[0]
        places = new.op("Concat", *self._places, attributes={"axis": 0})
        count = new.op("Shape", places)
        shape = new.slice(new.op("Shape", self._pooled[0]), axes=[0], starts=[1], ends=[4])
        shape = new.op("Concat", new.integers([1]), shape, attributes={"axis": 0})
        rows = new.op("Concat", *self._pooled, new.op("ConstantOfShape", shape), attributes={"axis": 0})
        regions = new.op("Gather", new.op("Shape", self.rois), new.integers([0]))
        start, step = (new.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
        order = new.op("Range", start, new.squeeze(count, [0]), step)
        found = new.op("ScatterElements", new.op("Expand", count, regions), places, order)
        return new.op("Gather", rows, found, attributes={"axis": 0})

    def _take(
        self, features: ir.Value, boxes: ir.Value, here: ir.Value | None, scale: float, **mode: str
    ) -> None:
        boxes, images = self._chosen(boxes, here)
        pooling = self.pooling
        bins = (pooling.height, pooling.width)
        self._pooled.append(self._align(features, boxes, images, bins, pooling.samples, scale, **mode))

    def _take_small(
        self, features: ir.Value, cells: ir.Value, here: ir.Value, *, narrow: bool, low: bool
    ) -> None:
        """Pool regions with one or two sides below one cell; ``cells`` are their corners in cells."""
        new, pooling = self.new, self.pooling
        boxes, images = self._chosen(cells, here)
        x1, y1, x2, y2 = (_columns(new, boxes, index, index + 1) for index in range(4))
        size = new.op("Shape", features)
        # Several samples per bin become bins of their own, whose means are taken afterwards.
        each = max(pooling.samples, 1)
        rows, columns = pooling.height * each, pooling.width * each
        weights_x = weights_y = None
        if narrow:
            x1, x2, weights_x = self._window(x1, x2, pooling.width, _size(new, size, 3))
            columns = _CELLS
        if low:
            y1, y2, weights_y = self._window(y1, y2, pooling.height, _size(new, size, 2))
            rows = _CELLS
        windows = new.op("Concat", x1, y1, x2, y2, attributes={"axis": 1})
        pooled = self._align(features, windows, images, (rows, columns), min(pooling.samples, 1), 1.0)
        if weights_x is not None:
            pooled = new.op("MatMul", pooled, new.unsqueeze(weights_x, [1]))
        elif each > 1:
            pooled = new.op("MatMul", pooled, new.constant(_means(pooling.width, each)))
        if weights_y is not None:
            turned = new.op("Transpose", new.unsqueeze(weights_y, [1]), attributes={"perm": [0, 1, 3, 2]})
            pooled = new.op("MatMul", turned, pooled)
        elif each > 1:
            pooled = new.op("MatMul", new.constant(_means(pooling.height, each).T.copy()), pooled)
        self._pooled.append(pooled)

    def _window(
        self, start: ir.Value, end: ir.Value, bins: int, limit: ir.Value
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return where the three cells begin and end [R, 1], and how the bins weigh them [R, 3, bins].

        Args:
            start: of the regions along one axis, [R, 1], in cells.
            end: the same.
            bins: along the axis.
            limit: how many cells the map has along it, float32 [1].
        """
        new, count = self.new, bins * max(self.pooling.samples, 1)
        steps = new.constant(((np.arange(count, dtype=np.float32) + 0.5) / count)[None])
        points = new.op("Add", start, new.op("Mul", new.op("Sub", end, start), steps))
        # As in PyTorch: nothing beyond one cell outside of the map, the border's value before that.
        outside = new.op("Or", new.op("Less", points, _float(new, -1)), new.op("Greater", points, limit))
        last = new.op("Sub", limit, _float(new, 1))
        points = new.op("Max", new.op("Min", points, last), _float(new, 0))
        first = new.op("Floor", _columns(new, points, 0, 1))
        cells = new.op("Add", first, new.constant(np.arange(_CELLS, dtype=np.float32)[None]))
        apart = new.op("Abs", new.op("Sub", new.unsqueeze(cells, [2]), new.unsqueeze(points, [1])))
        weights = new.op("Max", new.op("Sub", _float(new, 1), apart), _float(new, 0))
        weights = new.op("Where", new.unsqueeze(outside, [1]), _float(new, 0), weights)
        if self.pooling.samples > 1:
            weights = new.op("MatMul", weights, new.constant(_means(bins, self.pooling.samples)))
        return (
            new.op("Sub", first, _float(new, 0.5)),
            new.op("Add", first, _float(new, _CELLS - 0.5)),
            weights,
        )

    def _chosen(self, boxes: ir.Value, here: ir.Value | None) -> tuple[ir.Value, ir.Value]:
        """Return boxes [K, 4] and batch indices [K] of some regions, and remember which."""
        if here is None:
            return boxes, self._images
        places = self.new.squeeze(self.new.op("NonZero", here), [0])
        self._places.append(places)
        return self.new.op("Gather", boxes, places), self.new.op("Gather", self._images, places)

    def _align(
        self,
        features: ir.Value,
        boxes: ir.Value,
        images: ir.Value,
        bins: tuple[int, int],
        samples: int,
        scale: float,
        **mode: str,
    ) -> ir.Value:
        attributes: dict[str, Attribute] = {
            "mode": "avg",
            "output_height": bins[0],
            "output_width": bins[1],
            "sampling_ratio": samples,
            "spatial_scale": scale,
            **mode,
        }
        return self.new.op("RoiAlign", features, boxes, images, attributes=attributes)


def _means(bins: int, each: int) -> np.ndarray:
    """Return the matrix [bins * each, bins] that takes means of ``each`` neighbours."""
    return np.kron(np.eye(bins, dtype=np.float32), np.full((each, 1), 1 / each, dtype=np.float32))


def _float(new: VersionedOps, number: float) -> ir.Value:
    return new.constant(np.array(number, dtype=np.float32))


def _columns(new: VersionedOps, value: ir.Value, start: int, end: int) -> ir.Value:
    return new.slice(value, axes=[1], starts=[start], ends=[end])


def _column(new: VersionedOps, value: ir.Value, index: int) -> ir.Value:
    return new.squeeze(_columns(new, value, index, index + 1), [1])


def _size(new: VersionedOps, sizes: ir.Value, axis: int) -> ir.Value:
    return new.cast(new.op("Gather", sizes, new.integers([axis])), ir.DataType.FLOAT)


def pool_pyramid(
    new: VersionedOps,
    features: Sequence[ir.Value],
    rois: ir.Value,
    *,
    scales: Sequence[float],
    finest: float,
    pooling: Pooling,
) -> ir.Value:
    """Pool each region from the level that fits its size; see ``RegionPooler``.

    Args:
        new: where to write.
        features: float32 [N, C, Hi, Wi], finest first.
        rois: float32 [R, 5].
        scales: cells per pixel, one for each level.
        finest: a region of less than twice this side belongs to the first level.
        pooling: how.
    """
    pooler = RegionPooler(new, rois, pooling)
    chosen = pooler.levels(len(features), finest) if len(features) > 1 else [None]
    for level, scale, here in zip(features, scales, chosen, strict=True):
        pooler.add(level, scale, here)
    return pooler.result()
