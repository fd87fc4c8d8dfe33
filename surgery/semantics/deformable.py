"""Read deformable convolutions, whoever spelled them."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.core.bodies.deformable import Geometry
from graphopt.core.bodies.deformable_spellings import (
    ascend_geometry,
    mmcv_geometry,
    onnx_geometry,
    torch_npu_geometry,
)
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import attributes_of
from graphopt.surgery.graph_queries import constant_tensor, has_attribute_references, input_of, nodes_of

ASCEND = "DeformableConv2D"
_TORCH_NPU = "NPUDeformableConv2d"
_MMCV_PLAIN, _MMCV_MASKED = "MMCVDeformConv2d", "MMCVModulatedDeformConv2d"
_STANDARD = "DeformConv"


@dataclass(frozen=True, kw_only=True, eq=False)
class DeformableConvolution:
    """One deformable convolution.

    Attributes:
        node: the call.
        geometry: strides, padding in front, dilations and groups.
        pads: top, left, bottom, right.
        image: [N, C, H, W].
        weight: [O, C / groups, kh, kw].
        offsets: of each tap y and x side by side; in Ascend's, blocks of x, of y and of the mask.
        mask: [N, deformable groups * kh * kw, H', W']; None where there is none, or it is in ``offsets``.
        bias: [O]; None where there is none.
    """

    node: ir.Node
    geometry: Geometry
    pads: tuple[int, int, int, int]
    image: ir.Value
    weight: ir.Value
    offsets: ir.Value
    mask: ir.Value | None
    bias: ir.Value | None

    @property
    def has_blocks(self) -> bool:
        """Whether the offsets are in the blocks of Ascend's operator already."""
        return self.node.op_type in (ASCEND, _TORCH_NPU)


def deformable_nodes(model: ir.Model, *, ascends: bool) -> Iterator[ir.Node]:
    """Yield every deformable convolution; ``DeformableConv2D`` only when asked for."""
    yield from nodes_of(model, _MMCV_PLAIN, _MMCV_MASKED, domain="mmcv")
    yield from nodes_of(model, _STANDARD)
    yield from nodes_of(model, _TORCH_NPU, *([ASCEND] if ascends else []), domain="npu")


def read_deformable(node: ir.Node) -> DeformableConvolution | str:
    """Read a node that ``deformable_nodes`` yields, or say why it cannot be (a clause)."""
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    attributes = attributes_of(node)
    pads: tuple[int, ...] = ()
    order: tuple[int, int, int, int | None, int]
    try:
        if node.op_type == _STANDARD:
            geometry, order = onnx_geometry(attributes), (0, 1, 2, 4, 3)
            pads = tuple(node.attributes.get_ints("pads", []))
        elif node.op_type == ASCEND:
            geometry, order = ascend_geometry(attributes), (0, 1, 2, None, 3)
        elif node.op_type == _TORCH_NPU:
            geometry, order = torch_npu_geometry(attributes), (0, 1, 2, None, 3)
            top, bottom, left, right = node.attributes.get_ints("paddings", [])
            pads = (top, left, bottom, right)
        elif node.op_type == _MMCV_MASKED:
            geometry, order = mmcv_geometry(attributes), (0, 3, 1, 2, 4)
        else:
            geometry, order = mmcv_geometry(attributes), (0, 2, 1, None, 3)
    except PreconditionError as error:
        return str(error)
    image, weight, offsets, mask, bias = (None if index is None else input_of(node, index) for index in order)
    if image is None or weight is None or offsets is None:
        return "an input is left out"
    if any(value.name and (value.uses() or value.is_graph_output()) for value in node.outputs[1:]):
        return f"its second output {node.outputs[1].name} is read"
    if bias is not None and (tensor := constant_tensor(bias)) is not None and tensor.size == 0:
        bias = None
    top, left, bottom, right = pads or (*geometry.pads, *geometry.pads)
    return DeformableConvolution(
        node=node,
        geometry=geometry,
        pads=(top, left, bottom, right),
        image=image,
        weight=weight,
        offsets=offsets,
        mask=mask,
        bias=bias,
    )
