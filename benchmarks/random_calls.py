"""Calls of operators with random settings, over as wide a range as mmcv's compiled operators take."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from graphopt.core.tensors import Array


@dataclass(frozen=True)
class Call:
    """A node and the arrays of its inputs, all float32; ``words`` say what is special about it."""

    node: onnx.NodeProto
    inputs: Sequence[Array]
    words: str

    @property
    def feeds(self) -> dict[str, Array]:
        """Return the inputs by name."""
        return dict(zip(self.node.input, self.inputs, strict=True))

    def model(self, opset: int) -> onnx.ModelProto:
        """Return a model of this one node."""
        value = onnx.helper.make_tensor_value_info
        outputs = [
            value(name, onnx.TensorProto.INT32 if name == "count" else onnx.TensorProto.FLOAT, None)
            for name in self.node.output
        ]
        inputs = [value(name, onnx.TensorProto.FLOAT, item.shape) for name, item in self.feeds.items()]
        graph = onnx.helper.make_graph([self.node], "call", inputs, outputs)
        imports = [onnx.helper.make_opsetid("", opset)]
        return onnx.helper.make_model(graph, ir_version=8, opset_imports=imports)


def convolution(rng: np.random.Generator, op_type: str) -> Call:
    """Draw a deformable convolution: kernels to 5, offsets from none to far outside of the image."""
    batch, groups, deformable = (int(rng.choice(items)) for items in ((1, 2, 3), (1, 2), (1, 2, 4)))
    channels, outputs = 4 * groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 5))
    taps = rng.choice([1, 2, 3, 5], 2)
    stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = rng.integers(0, 4, 2) if op_type != "DeformableConv2D" else [int(rng.integers(0, 4))] * 2
    size = rng.integers(11, 30, 2)
    made = (size + 2 * np.array(padding) - dilation * (taps - 1) - 1) // stride + 1
    far = float(rng.choice([0.0, 0.1, 2.0, 30.0]))
    count, bias = deformable * int(taps.prod()), bool(rng.integers(2)) and op_type != "MMCVDeformConv2d"
    moves = rng.normal(0, 1, (batch, count, 2, *made)) * far
    if rng.integers(4) == 0:
        moves = np.round(moves)  # exactly on pixels, and on the border
    mask = rng.random((batch, count, *made))
    x = rng.standard_normal((batch, channels, *size))
    weight = rng.standard_normal((outputs, channels // groups, *taps))
    offset = moves.reshape(batch, 2 * count, *made)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    names, inputs = ["x", "o", "w"], [x, offset, weight]
    if op_type == "MMCVModulatedDeformConv2d":
        names, inputs = ["x", "o", "m", "w"], [x, offset, mask, weight]
    if op_type == "DeformableConv2D":
        geometry = {"strides": stride, "pads": padding, "dilations": dilation}
        names, inputs = (
            ["x", "w", "o"],
            [x, weight, np.concatenate([moves[:, :, 1], moves[:, :, 0], mask], axis=1)],
        )
    if bias:
        names, inputs = [*names, "b"], [*inputs, rng.standard_normal(outputs)]
    group_name = "deformable_groups" if op_type == "DeformableConv2D" else "deform_groups"
    attributes: dict[str, Any] = {name: [int(item) for item in items] for name, items in geometry.items()}
    attributes |= {"groups": groups, group_name: deformable}
    node = onnx.helper.make_node(op_type, names, ["y"], **attributes)
    return Call(node, [item.astype(np.float32) for item in inputs], f"offsets to {far:g}")


def regions(rng: np.random.Generator) -> Call:
    """Draw a pooling: regions of any size, some below a cell, some without area, some outside."""
    levels, channels, batch = int(rng.integers(1, 5)), int(rng.integers(1, 9)), int(rng.integers(1, 3))
    size = rng.integers(6, 12, 2) * 8  # of the finest level, in cells
    scales = [0.25 / 2**level for level in range(levels)]
    maps = [rng.standard_normal((batch, channels, *(size // 2**level))) for level in range(levels)]
    count = int(rng.integers(1, 60))
    sides = np.exp(rng.uniform(-1, 6, (count, 2)))
    small = rng.integers(0, 5, count)
    sides[small == 0] = rng.uniform(0, 3, (int((small == 0).sum()), 2))  # below one cell
    sides[small == 1, int(rng.integers(2))] = 0
    corner = rng.uniform(-40, 4 * size[::-1].max(), (count, 2))
    if rng.integers(4) == 0:
        corner, sides = (
            np.round(corner / 2) * 2,
            np.round(sides / 4) * 4,
        )  # on borders of cells, bins and levels
    rois = np.concatenate([rng.integers(0, batch, (count, 1)), corner, corner + sides], axis=1)
    bins = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    samples, aligned = int(rng.choice([0, 1, 2, 3])), int(rng.integers(2))
    names = [*(f"f{level}" for level in range(levels)), "rois"]
    node = onnx.helper.make_node(
        "RoiExtractor",
        names,
        ["y"],
        finest_scale=int(rng.choice([28, 56])),
        spatial_scale=scales,
        pooled_height=bins[0],
        pooled_width=bins[1],
        sample_num=samples,
        aligned=aligned,
    )
    return Call(
        node, [item.astype(np.float32) for item in (*maps, rois)], f"{samples} samples, aligned {aligned}"
    )


def boxes(rng: np.random.Generator, *, ties: bool) -> Call:
    """Draw a suppression: shared boxes or own ones, crowded, some without area; scores that tie, or not."""
    batch, classes, count = int(rng.integers(1, 3)), int(rng.choice([1, 3, 20])), int(rng.integers(1, 400))
    own = classes if rng.integers(2) else 1
    centre = rng.uniform(0, 100, (batch, count, own, 2))
    sides = np.exp(rng.uniform(1, 4.5, centre.shape))
    sides[rng.random(centre.shape) < 0.02] = 0
    corners = np.concatenate([centre - sides / 2, centre + sides / 2], axis=-1)
    ranks = rng.permutation(batch * count * classes).reshape(batch, count, classes)
    scores = (ranks + 1) / (ranks.size + 1)
    if ties:
        scores = np.round(scores, 2)
        corners = np.round(corners / 4) * 4
    total = int(rng.choice([5, 100, 1000, 1000]))
    node = onnx.helper.make_node(
        "BatchMultiClassNMS",
        ["b", "s"],
        ["boxes", "scores", "classes", "count"],
        iou_threshold=float(rng.choice([0.3, 0.5, 0.7])),
        score_threshold=float(rng.choice([0.0, 0.05, 0.5, 0.9])),
        max_size_per_class=int(rng.choice([2, 30, 1000, 1000])),
        max_total_size=total,
    )
    return Call(node, [corners.astype(np.float32), scores.astype(np.float32)], "ties" if ties else "no ties")


KINDS: Mapping[str, Callable[[np.random.Generator], Call]] = {
    "MMCVDeformConv2d": lambda rng: convolution(rng, "MMCVDeformConv2d"),
    "MMCVModulatedDeformConv2d": lambda rng: convolution(rng, "MMCVModulatedDeformConv2d"),
    "DeformableConv2D": lambda rng: convolution(rng, "DeformableConv2D"),
    "RoiExtractor": regions,
    "BatchMultiClassNMS": lambda rng: boxes(rng, ties=False),
    "BatchMultiClassNMS, scores and boxes on a raster": lambda rng: boxes(rng, ties=True),
}
