"""The nodes that pool regions from one map, in ONNX's spelling and in mmcv's."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.core.bodies.roi_pooling import HALF_PIXEL_SINCE
from graphopt.surgery.graph_queries import is_op, nodes_of, opset_of

_MMCV, _MMCV_TYPE = "mmcv", "MMCVRoiAlign"
_RELATIVE = 1e-5


def is_pooling(node: ir.Node | None) -> bool:
    """Whether a node pools regions from one map."""
    return is_op(node, "RoiAlign") or has_table(node)


def has_table(node: ir.Node | None) -> bool:
    """Whether its regions are a table [R, 5] that holds the index of the image, too, as mmcv has it."""
    return node is not None and (node.domain, node.op_type) == (_MMCV, _MMCV_TYPE)


def pooling_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield every node that pools regions from one map."""
    yield from nodes_of(model, "RoiAlign")
    yield from nodes_of(model, _MMCV_TYPE, domain=_MMCV)


@dataclass(frozen=True, kw_only=True)
class PoolingSettings:
    """How a node pools regions.

    Attributes:
        bins: height and width of the answers.
        samples: per bin and axis; 0 takes as many as cells begin.
        scale: cells per pixel.
        shifts: whether the node itself shifts regions by half a cell.
    """

    bins: tuple[int, int]
    samples: int
    scale: float
    shifts: bool

    @classmethod
    def of(cls, model: ir.Model, node: ir.Node) -> "PoolingSettings | str":
        """Read the attributes, or say what a target has no operator for."""
        if any(item.is_ref() for item in node.attributes.values()):
            return "an attribute comes from the caller of its function"
        mode = node.attributes.get_string("mode", "avg")
        if mode != "avg":
            return f"it takes the {mode} of its samples, not the mean"
        bins = (node.attributes.get_int("output_height", 1), node.attributes.get_int("output_width", 1))
        if bins[0] != bins[1]:
            return f"it pools {bins[0]} x {bins[1]} bins, and the target wants as many in both directions"
        return cls(
            bins=bins,
            samples=max(node.attributes.get_int("sampling_ratio", 0), 0),
            scale=node.attributes.get_float("spatial_scale", 1.0),
            shifts=_shifts(model, node),
        )

    def alignment(self, shift: float) -> bool | str:
        """Return whether regions are shifted by half a cell, by the operator or in front of it."""
        if not shift:
            return self.shifts
        if self.shifts:
            return "its regions are shifted twice, in front of the pooling and by it"
        if abs(shift * self.scale - 0.5) > _RELATIVE:
            return f"its regions are shifted by {shift:g} pixels, which is not half a cell"
        return True


def _shifts(model: ir.Model, node: ir.Node) -> bool:
    if has_table(node):
        return bool(node.attributes.get_int("aligned", 1))
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return opset_of(model, node) >= HALF_PIXEL_SINCE and mode == "half_pixel"


def forces_cells(model: ir.Model, node: ir.Node) -> bool:
    """Whether a ``RoiAlign`` makes every region one cell large at least."""
    return is_op(node, "RoiAlign") and not _shifts(model, node)
