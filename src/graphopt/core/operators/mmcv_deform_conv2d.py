"""``MMCVDeformConv2d``: deformable convolution without a mask, as mmcv and mmdeploy export it.

Inputs: x [N, C, H, W]; offset [N, deformable groups * kh * kw * 2, H', W'], the shift down and the shift to
the right of each tap side by side; weight [O, C / groups, kh, kw]; bias [O], which no exporter writes.
Output: [N, O, H', W'].
"""

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from graphopt.core.bodies.deformable_spellings import exporters_body, mmcv_geometry, plain_convolution
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator, attributes_of
from graphopt.core.versioned_ops import VersionedOps


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    try:
        geometry = mmcv_geometry(attributes_of(node))
    except PreconditionError:
        return None
    return plain_convolution(node, geometry, weight=2)


def _body(call: Call, build: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    geometry = mmcv_geometry(call.attributes)
    return exporters_body(call, build, inputs, geometry=geometry, weight=2, offsets=1, mask=None, bias=3)


OPERATOR = ForeignOperator(
    op_type="MMCVDeformConv2d",
    home="mmcv",
    domains=("", "mmdeploy"),
    shaped_like=_shaped_like,
    body=_body,
    batched=(0, 1),
    note="deformable convolution without a mask, as mmcv exports it",
)
