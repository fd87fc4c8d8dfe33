"""``MMCVRoiAlign``: pooling of regions from one map, as mmcv 1.x, mmdeploy and this package export it.

Inputs: x [N, C, H, W]; rois [R, 5]: index of the image, x1, y1, x2, y2 in its pixels.
Output: [R, C, output_height, output_width].
ONNX's own ``RoiAlign`` enlarges regions below one cell before opset 16; mmcv's aligned pooling does not, and
so an export to opset 11 needs this one to answer as the network does.
"""

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from graphopt.core.bodies.roi_pooling import Pooling, pool_pyramid
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator, attributes_of
from graphopt.core.versioned_ops import VersionedOps


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    """Return ``MaxRoiPool``: one answer for each region, of the same size."""
    given = attributes_of(node)
    bins = [given.get(name) for name in ("output_height", "output_width")]
    names = [value.name or "" if value is not None else "" for value in (*node.inputs, *node.outputs)]
    if "" in names or len(names) != 3 or not all(isinstance(size, int) for size in bins):
        return None
    return [onnx.helper.make_node("MaxRoiPool", names[:2], names[2:], pooled_shape=bins)]


def _body(call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    features, rois = (*inputs, None, None)[:2]
    if features is None or rois is None:
        raise PreconditionError(f"{call.label} lacks its map or its regions")
    if (mode := call.text("mode", "avg")) != "avg":
        raise PreconditionError(f"{call.label}: only the mean is pooled, not {mode}")
    features, rois = (
        item if call.dtype(index) is ir.DataType.FLOAT else new.cast(item, ir.DataType.FLOAT)
        for index, item in enumerate((features, rois))
    )
    pooled = pool_pyramid(
        new,
        [features],
        rois,
        scales=[call.number("spatial_scale", 1.0)],
        finest=1.0,
        pooling=Pooling(
            height=call.integer("output_height"),
            width=call.integer("output_width"),
            samples=max(call.integer("sampling_ratio", 0), 0),
            aligned=bool(call.integer("aligned", 1)),
        ),
    )
    return [pooled if call.dtype(0) is ir.DataType.FLOAT else new.cast(pooled, call.dtype(0))]


OPERATOR = ForeignOperator(
    op_type="MMCVRoiAlign",
    home="mmcv",
    domains=("", "mmdeploy"),
    shaped_like=_shaped_like,
    body=_body,
    note="RoIAlign from one feature map, as mmcv exports it",
)
