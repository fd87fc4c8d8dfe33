"""``RoiExtractor``: Ascend's pooling of regions from all levels of a feature pyramid at once.

Inputs: one feature map per level, [N, C, Hi, Wi], the finest first; then rois [R, 5]: index of the image, x1,
y1, x2, y2 in its pixels.
Outputs: [R, C, pooled_height, pooled_width].
Limits: as many bins along both axes; only the mean is pooled; all inputs of one dtype, float16 or float32;
opsets 8 to 16.
"""

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from graphopt.core.bodies.roi_pooling import Pooling, pool_pyramid
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator
from graphopt.core.versioned_ops import VersionedOps

SCALES = (0.25, 0.125, 0.0625, 0.03125)
"""Default of ``spatial_scale``; this and the other defaults are those of the parser (canndev, mid-2022)."""
FINEST = 56
_BINS = 7


def _body(call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    """Write the operator as one ``RoiAlign`` for each level; inputs are the levels, finest first, and rois.

    A region of exactly ``2^k * finest_scale`` belongs to the coarser level, as in mmdet and torchvision.
    The kernel of 2022 documents the finer one there; with real boxes nobody meets the difference, and
    equality with the network is what users prove.
    """
    *levels, rois = inputs
    scales = call.numbers("spatial_scale", SCALES)
    if rois is None or not levels or None in levels or len(scales) < len(levels):
        raise PreconditionError(
            f"{call.label} has {len(scales)} scales for {len(levels)} feature maps with rois behind them"
        )
    if call.text("pool_mode", "avg") != "avg":
        raise PreconditionError(f"{call.label}: only the mean is pooled, not {call.text('pool_mode')}")
    pooled = pool_pyramid(
        new,
        [_as_float(call, new, item, index) for index, item in enumerate(levels) if item is not None],
        _as_float(call, new, rois, len(levels)),
        scales=scales[: len(levels)],
        finest=call.number("finest_scale", FINEST),
        pooling=Pooling(
            height=call.integer("pooled_height", _BINS),
            width=call.integer("pooled_width", _BINS),
            samples=max(call.integer("sample_num", 0), 0),
            aligned=bool(call.integer("aligned", 1)),
        ),
    )
    return [pooled if call.dtype(0) is ir.DataType.FLOAT else new.cast(pooled, call.dtype(0))]


def _as_float(call: Call, new: VersionedOps, value: ir.Value, index: int) -> ir.Value:
    return value if call.dtype(index) is ir.DataType.FLOAT else new.cast(value, ir.DataType.FLOAT)


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    """Return ``MaxRoiPool`` on the first level: one answer for each region, of the same size."""
    names = [value.name or "" if value is not None else "" for value in node.inputs]
    outputs = [value.name or "" for value in node.outputs]
    bins = []
    for name in ("pooled_height", "pooled_width"):
        size = node.attributes.get(name)
        if size is not None and (size.is_ref() or size.type != ir.AttributeType.INT):
            return None
        bins.append(_BINS if size is None else size.as_int())
    if len(names) < 2 or "" in (names[0], names[-1]) or len(outputs) != 1:
        return None
    return [onnx.helper.make_node("MaxRoiPool", [names[0], names[-1]], outputs, pooled_shape=bins)]


_OPSETS = range(8, 17)
"""The parser knows the operator's name in these (ops-cv, 2026; until 15 in mid-2022)."""


def _check(call: Call) -> Iterator[str]:
    """Yield broken limits: kernel and configuration in canndev, mid-2022 (Ascend310, 310B and 310P)."""
    levels = len(call.inputs) - 1
    scales = call.numbers("spatial_scale", SCALES)
    dtypes = {call.dtype(index) for index in range(len(call.inputs))}
    if levels < 1:
        yield "it has no feature map"
    if len(scales) != levels:
        yield f"spatial_scale has {len(scales)} numbers for {levels} levels"
    if len(dtypes) > 1 or not dtypes <= {ir.DataType.FLOAT, ir.DataType.FLOAT16}:
        text = ", ".join(sorted(dtype.name for dtype in dtypes))
        yield f"its inputs are {text}, not all float16 or all float32"
    height, width = call.integer("pooled_height", _BINS), call.integer("pooled_width", _BINS)
    if height != width:
        yield f"it pools {height} x {width} bins, and the kernel takes pooled_height for both"
    if (mode := call.text("pool_mode", "avg")) != "avg":
        yield f"pool_mode is {mode}, and only avg is implemented"
    if (factor := call.number("roi_scale_factor", 0)) not in (0, 1):
        yield f"roi_scale_factor is {factor:g}, which the kernel does not read"
    if call.opset not in _OPSETS:
        yield f"its name is known to the parser in opsets 8 to 16, the model has {call.opset}"


OPERATOR = ForeignOperator(
    op_type="RoiExtractor",
    home="npu",
    domains=("", "mmdeploy"),
    is_target=True,
    shaped_like=_shaped_like,
    body=_body,
    check=_check,
    attributes={
        "finest_scale": ir.AttributeType.INT,
        "roi_scale_factor": ir.AttributeType.FLOAT,
        "spatial_scale": ir.AttributeType.FLOATS,
        "pooled_height": ir.AttributeType.INT,
        "pooled_width": ir.AttributeType.INT,
        "sample_num": ir.AttributeType.INT,
        "pool_mode": ir.AttributeType.STRING,
        "aligned": ir.AttributeType.INT,
    },
    note="RoIAlign over all levels of a feature pyramid, each region on the level that fits its size",
)
