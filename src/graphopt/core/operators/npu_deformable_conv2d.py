"""``NPUDeformableConv2d``: Ascend's deformable convolution as torch_npu exports it.

Inputs: x [N, C, H, W]; weight [O, C / groups, kh, kw]; offsets [N, 3 * deformable groups * kh * kw, H', W']:
the shifts to the right of all taps, the shifts down of all, the mask of all; bias [O], or [0] for none.
Output: [N, O, H', W']; a scalar in the place of what PyTorch's operator keeps for its gradient.
Limits: those of DeformableConv2D; only newer releases know the name.

Attributes are those of ATC's parser (hicann/ops-nn, ``npu_deformable_conv2d_onnx_plugin.cpp``); the pass
``replace_dcn`` writes the older name.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.core.bodies.deformable_spellings import ascend_body, plain_convolution, torch_npu_geometry
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator, attributes_of
from graphopt.core.versioned_ops import VersionedOps

_BIAS = 3


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    try:
        geometry = torch_npu_geometry(attributes_of(node))
    except PreconditionError:
        return None
    pads = list(node.attributes.get_ints("paddings", []))
    plain = plain_convolution(node, geometry, weight=1)
    if plain is None:
        return None
    for attribute in plain[0].attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [pads[0], pads[2], pads[1], pads[3]]
    if len(node.outputs) < 2 or not node.outputs[1].name:
        return plain
    zero = onnx.numpy_helper.from_array(np.zeros((), np.float32))
    return [*plain, onnx.helper.make_node("Constant", [], [node.outputs[1].name], value=zero)]


def _body(call: Call, build: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    given = list(inputs)
    if call.has_input(_BIAS):
        given[_BIAS] = _filled_up(build, call, given)
    result = ascend_body(call, build, given, geometry=torch_npu_geometry(call.attributes))
    return [result, build.constant(np.zeros((), np.float32))]


def _filled_up(build: VersionedOps, call: Call, inputs: Sequence[ir.Value | None]) -> ir.Value:
    """Return a bias of one number per channel also where an empty one stands for none."""
    weight, bias = inputs[1], inputs[_BIAS]
    if weight is None or bias is None:
        raise PreconditionError(f"{call.label} lacks an input")
    count = build.slice(build.op("Shape", weight), axes=[0], starts=[0], ends=[1])
    zero = ir.tensor(np.zeros(1, dtype=call.dtype(_BIAS).numpy()))
    zeros = build.op("ConstantOfShape", count, attributes={"value": zero})
    both = build.op("Concat", bias, zeros, attributes={"axis": 0})
    return build.op("Slice", both, build.integers([0]), count, build.integers([0]))


OPERATOR = ForeignOperator(
    op_type="NPUDeformableConv2d",
    home="npu",
    domains=("",),
    is_target=True,
    shaped_like=_shaped_like,
    body=_body,
    attributes={
        "strides": ir.AttributeType.INTS,
        "paddings": ir.AttributeType.INTS,
        "dilations": ir.AttributeType.INTS,
        "groups": ir.AttributeType.INT,
        "deformable_groups": ir.AttributeType.INT,
        "modulated": ir.AttributeType.INT,
    },
    batched=(0, 2),
    note="deformable convolution of Ascend as torch_npu exports it",
)
