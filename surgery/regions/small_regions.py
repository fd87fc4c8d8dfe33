"""Let ``RoiAlign`` before opset 16 pool regions below one cell as the network that was exported does.

mmcv writes aligned pooling as a shift by half a cell in front of ``RoiAlign``, which then makes every
region one cell large at least. The network does not.
"""

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import constant_of, input_of, is_op, nodes_of
from graphopt.surgery.regions.pooling_nodes import forces_cells
from graphopt.surgery.versioned_builder import VersionedBuilder

_RELATIVE = 1e-5
COUNTED = (
    "regions are smaller than one cell: RoiAlign of this source makes them one cell large, the network does "
    "not, and there the result is compared with what the network computes"
)


def mend_small_regions(model: ir.Model) -> dict[str, str]:
    """Pool small regions anew behind each aligned ``RoiAlign`` of the main graph that enlarges them.

    All other regions keep the numbers that ``RoiAlign`` gives.

    Args:
        model: changed.

    Returns:
        The tensor that counts the small regions -> what they are; nothing when there is no such node.
    """
    counts = [
        _mended(model, node, boxes)
        for node in list(nodes_of(model, "RoiAlign"))
        if node.graph is model.graph and (boxes := _unshifted(model, node)) is not None
    ]
    if not counts:
        return {}
    total = counts[0]
    for count in counts[1:]:
        node = ir.node("Add", [total, count])
        node.outputs[0].name = f"{count.name}.sum"
        model.graph.append(node)
        total = node.outputs[0]
    return {total.name or "": COUNTED}


def _unshifted(model: ir.Model, node: ir.Node) -> ir.Value | None:
    """Return the boxes in front of the shift by half a cell; None for a pooling of another kind."""
    value = input_of(node, 1)
    shift = None if value is None else value.producer()
    if not forces_cells(model, node) or not is_op(shift, "Sub"):
        return None
    assert shift is not None
    constant = constant_of(input_of(shift, 1))
    if constant is None or constant.size != 1:
        return None
    scale = node.attributes.get_float("spatial_scale", 1.0)
    if abs(float(constant.ravel()[0]) * scale - 0.5) > _RELATIVE:
        return None
    return shift.inputs[0]


def _mended(model: ir.Model, node: ir.Node, boxes: ir.Value) -> ir.Value:
    """Write the small regions over the answers of ``node``; return how many there are, int64 [1]."""
    features, rois, images = node.inputs
    assert images is not None
    new = VersionedBuilder(model, node, stem=f"{node.outputs[0].name}.mended")
    attributes = {name: item.value for name, item in node.attributes.items()}
    whole = new.op("RoiAlign", features, rois, images, attributes=attributes, like=node.outputs[0])
    scale = node.attributes.get_float("spatial_scale", 1.0)
    ends, starts = (new.slice(boxes, axes=[1], starts=[at], ends=[at + 2]) for at in (2, 0))
    cell = new.constant(np.array(1 / scale, dtype=(boxes.dtype or ir.DataType.FLOAT).numpy()), "cell")
    small = new.cast(new.op("Less", new.op("Sub", ends, starts), cell), ir.DataType.INT32)
    rows = new.reduce("ReduceMax", small, [1], keepdims=False)
    places = new.op("Transpose", new.op("NonZero", rows), attributes={"perm": [1, 0]})
    one = new.unsqueeze(new.cast(images, boxes.dtype or ir.DataType.FLOAT), [1])
    table = new.op("Concat", one, boxes, attributes={"axis": 1})
    pooled = new.op(
        "RoiExtractor",
        features,
        new.op("GatherND", table, places),
        attributes={
            "spatial_scale": [scale],
            "pooled_height": node.attributes.get_int("output_height", 1),
            "pooled_width": node.attributes.get_int("output_width", 1),
            "sample_num": node.attributes.get_int("sampling_ratio", 0),
            "aligned": 1,
        },
        domain="npu",
    )
    count = new.slice(new.op("Shape", places), axes=[0], starts=[0], ends=[1])
    new.replace(new.op("ScatterND", whole, places, pooled))
    return count
