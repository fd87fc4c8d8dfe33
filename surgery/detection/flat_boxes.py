"""Let boxes without area take their places in a list of proposals, as ``NonMaxSuppression`` lets them.

A box that clipping to the image has made flat overlaps nothing, so it is kept, and of a limited number of
proposals it takes a place that another box would have. The operator drops it. Therefore such boxes enter
it as stand-ins, small boxes in a class of their own that overlap nothing either, and leave it as missing.
"""

import math

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.versioned_builder import VersionedBuilder

_STEP = 4.0
"""Distance of two stand-ins in pixels: small whole numbers are exact in float16 too."""


def with_stand_ins(
    build: VersionedBuilder, boxes: ir.Value, scores: ir.Value, own_scores: ir.Value, count: int
) -> tuple[ir.Value, ir.Value]:
    """Put stand-ins in the places of flat boxes, and give them one more class, the last.

    Args:
        build: writes the nodes.
        boxes: float32[1, N, 1, 4].
        scores: float32[1, N, C], zero where a box does not belong to the class.
        own_scores: float32[1, N, 1], of each box.
        count: N.

    Returns:
        Boxes, and scores [1, N, C + 1].
    """
    low = build.slice(boxes, axes=[3], starts=[0], ends=[2])
    high = build.slice(boxes, axes=[3], starts=[2], ends=[4])
    sides = build.op("Sub", high, low)
    sides.type = boxes.type
    shorter = build.reduce("ReduceMin", sides, [3])
    zero = build.constant(np.array(0, np.float32), "zero")
    has_area = build.op("Greater", shorter, zero)
    has_area.type = ir.TensorType(ir.DataType.BOOL)
    placed = build.op("Where", has_area, boxes, build.constant(_stand_ins(count), "stand_ins"))
    counts = build.reshape(has_area, (1, count, 1))
    kept = build.op("Where", counts, scores, zero)
    rest = build.op("Where", counts, zero, own_scores)
    joined = build.op("Concat", kept, rest, attributes={"axis": 2})
    for made in (placed, kept, rest, joined):
        made.type = boxes.type
    return placed, joined


def _stand_ins(count: int) -> Array:
    """Return boxes of one pixel in a square, one for each candidate: float32[1, count, 1, 4]."""
    edge = math.ceil(math.sqrt(count))
    row, column = np.divmod(np.arange(count), edge)
    corners = np.stack((column, row), axis=1) * _STEP
    return np.concatenate((corners, corners + 1), axis=1, dtype=np.float32)[None, :, None]
