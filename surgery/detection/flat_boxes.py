"""Keep boxes without area, as ``NonMaxSuppression`` keeps them and the operator does not.

A box that clipping to the image has made flat overlaps nothing, so nothing suppresses it, and of a limited
number of rows it takes one that another box would have. Therefore such boxes enter the operator as
stand-ins: boxes of one pixel outside of the image, which overlap nothing either. Where a stand-in comes out
tells which box it stands for.
"""

import math

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.versioned_builder import VersionedBuilder

_STEP = 4
"""Distance of two stand-ins in pixels: small whole numbers are exact in float16 too."""


class StandIns:
    """Stand-ins for the flat ones among some boxes.

    Args:
        build: writes the nodes.
        boxes: float32[1, N, q, 4], none of them negative.
        count: N.
        sets: q.
    """

    def __init__(self, build: VersionedBuilder, boxes: ir.Value, count: int, sets: int) -> None:
        self._build, self._boxes, self._count, self._sets = build, boxes, count, sets
        self._edge = math.ceil(math.sqrt(count))

    def enter(self) -> ir.Value:
        """Return the boxes with stand-ins in the places of flat ones."""
        build = self._build
        low = build.slice(self._boxes, axes=[3], starts=[0], ends=[2])
        high = build.slice(self._boxes, axes=[3], starts=[2], ends=[4])
        sides = build.op("Sub", high, low)
        sides.type = self._boxes.type
        has_area = build.op("Greater", build.reduce("ReduceMin", sides, [3]), self._number(0))
        placed = build.op("Where", has_area, self._boxes, build.constant(self._table(), "stand_ins"))
        placed.type = self._boxes.type
        return placed

    def leave(self, boxes: ir.Value, classes: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return chosen boxes with the flat ones back in place, and which boxes are not flat.

        Args:
            boxes: float32[1, M, 4], chosen by the operator.
            classes: float32[1, M].

        Returns:
            Boxes float32[1, M, 4], and bool[1, M, 1].
        """
        build = self._build
        corners = build.slice(boxes, axes=[2], starts=[0], ends=[2])
        weights = np.array([-1, -self._edge], np.float32) / _STEP * self._sets
        weighted = build.op("Mul", corners, build.constant(weights, "weights"))
        weighted.type = boxes.type
        rows = build.reduce("ReduceSum", weighted, [2])
        if self._sets > 1:
            rows = build.op("Add", rows, build.unsqueeze(classes, [2]))
        rows = build.op("Sub", rows, self._number((self._edge + 1) * self._sets - 1))
        # Those of real boxes are far below zero: they look up the row in front of all.
        rows = build.op("Max", rows, self._number(0))
        index = build.op("Cast", rows, attributes={"to": ir.DataType.INT32.value})
        listed = build.reshape(self._boxes, (self._count * self._sets, 4))
        nothing = build.constant(np.zeros((1, 4), np.float32), "nothing")
        listed = build.op("Concat", nothing, listed, attributes={"axis": 0})
        flat = build.op("Gather", listed, build.squeeze(index, [0, 2]), attributes={"axis": 0})
        back = build.op("Max", boxes, build.unsqueeze(flat, [0]))
        back.type = boxes.type
        return back, build.op("Less", rows, self._number(1))

    def _number(self, number: float) -> ir.Value:
        return self._build.constant(np.array(number, np.float32), "number")

    def _table(self) -> Array:
        """Return the stand-ins in a square left of and above the image: float32[1, N, 1, 4]."""
        row, column = np.divmod(np.arange(self._count), self._edge)
        corners = -_STEP * (np.stack((column, row), axis=1) + 1.0)
        return np.concatenate((corners, corners + 1), axis=1, dtype=np.float32)[None, :, None]
