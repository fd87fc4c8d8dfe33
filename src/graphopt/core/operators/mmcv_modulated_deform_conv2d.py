"""``MMCVModulatedDeformConv2d``: deformable convolution with a mask, as mmcv and mmdeploy export it.

Inputs: x [N, C, H, W]; offset [N, deformable groups * kh * kw * 2, H', W'], the shift down and the shift to
the right of each tap side by side; mask [N, deformable groups * kh * kw, H', W'], multiplied as it is; weight
[O, C / groups, kh, kw]; bias [O], optional. Output: [N, O, H', W'].
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
    return plain_convolution(node, geometry, weight=3)


def _body(call: Call, build: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    geometry = mmcv_geometry(call.attributes)
    return exporters_body(call, build, inputs, geometry=geometry, weight=3, offsets=1, mask=2, bias=4)


OPERATOR = ForeignOperator(
    op_type="MMCVModulatedDeformConv2d",
    home="mmcv",
    domains=("", "mmdeploy"),
    shaped_like=_shaped_like,
    body=_body,
    batched=(0, 1, 2),
    note="deformable convolution with a mask, as mmcv exports it",
)
