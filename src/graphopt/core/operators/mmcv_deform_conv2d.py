"""``MMCVDeformConv2d``: deformable convolution as mmcv 1.x exports it, without a mask."""

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from graphopt.core.foreign_operator import ForeignOperator

_INPUTS = 3  # x [N, C, H, W], offset [N, 2 * groups * kh * kw, H', W'], weight [O, C / group, kh, kw]


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    """Return the plain convolution: moved sampling points change no size."""
    names = [value.name or "" if value is not None else "" for value in node.inputs]
    outputs = [value.name or "" for value in node.outputs]
    pairs = [_pair(node, name) for name in ("stride", "padding", "dilation")]
    if len(names) < _INPUTS or "" in names[:_INPUTS] or len(outputs) != 1 or None in pairs:
        return None
    strides, pads, dilations = pairs
    plain = onnx.helper.make_node(
        "Conv",
        [names[0], names[2]],
        outputs,
        strides=strides,
        pads=[*pads, *pads] if pads else None,
        dilations=dilations,
        group=node.attributes.get_int("groups", 1),
    )
    return [plain]


def _pair(node: ir.Node, name: str) -> list[int] | None:
    """Return a size per axis, height before width; None when there are not two."""
    attribute = node.attributes.get(name)
    if attribute is None or attribute.is_ref() or attribute.type != ir.AttributeType.INTS:
        return None
    sizes = list(attribute.as_ints())
    return sizes if len(sizes) == 2 else None


OPERATOR = ForeignOperator(
    op_type="MMCVDeformConv2d",
    home="mmcv",
    domains=("", "mmdeploy"),
    shaped_like=_shaped_like,
    note="deformable convolution without a mask, as mmcv exports it",
)
