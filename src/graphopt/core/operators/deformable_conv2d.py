"""``DeformableConv2D``: Ascend's deformable convolution.

Inputs: x [N, C, H, W]; weight [O, C / groups, kh, kw]; offsets [N, 3 * deformable groups * kh * kw, H', W']:
the shifts to the right of all taps, the shifts down of all, the mask of all; bias [O], optional.
Output: [N, O, H', W'].
Limits: kernels to 63 x 63, strides to 63, pads and dilations to 255, the same pads at both axes; an image to
4096 / kw wide and 100000 / kh high; on the AI CPU, which is slow, with several deformable groups or channels
that are no multiple of 8; opsets 9 to 16.

Attributes are those of ATC's parser (hicann/ops-nn, ``deformable_conv2d_onnx_plugin.cpp``), limits those of
the operator's documentation.
"""

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from graphopt.core.bodies.deformable import Geometry
from graphopt.core.bodies.deformable_spellings import ascend_body, ascend_geometry, plain_convolution
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, Caution, ForeignOperator, attributes_of
from graphopt.core.versioned_ops import VersionedOps

ATTRIBUTES = {
    "strides": ir.AttributeType.INTS,
    "pads": ir.AttributeType.INTS,
    "dilations": ir.AttributeType.INTS,
    "groups": ir.AttributeType.INT,
    "deformable_groups": ir.AttributeType.INT,
    "data_format": ir.AttributeType.STRING,
    "modulated": ir.AttributeType.INT,
}
# "Supported ONNX operators", DeformableConv2D; REG_OP(DeformableConv2D) in ops/nn_calculation_ops.h.
_LARGEST_KERNEL = 63
_LARGEST = {"strides": (1, 63), "pads": (0, 255), "dilations": (1, 255)}
_WIDTH_TIMES_KERNEL = 4096
_HEIGHT_TIMES_KERNEL = 100_000
# tbe/impl/deformable_offsets.py (2022-06): its own check; other calls go to the AI CPU.
_CORE_CHANNELS = 8
_OPSETS = range(9, 17)
"""The parser knows the operator's name in these (ops-nn, 2026; until 15 in mid-2022)."""


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    try:
        geometry = ascend_geometry(attributes_of(node))
    except PreconditionError:
        return None
    return plain_convolution(node, geometry, weight=1)


def _body(call: Call, build: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    return [ascend_body(call, build, inputs, geometry=ascend_geometry(call.attributes))]


def refusals(call: Call) -> Iterator[str]:
    """Yield the limits beyond which the target compiles a call in no opset, as clauses."""
    try:
        geometry = ascend_geometry(call.attributes)
    except PreconditionError as error:
        yield str(error)
        return
    yield from _broken_attributes(call, geometry)
    image, weight, offsets = call.sizes(0), call.sizes(1), call.sizes(2)
    if weight is not None and len(weight) == 4:
        yield from _broken_kernel(geometry, image, weight)
        yield from _broken_offsets(geometry, weight, offsets)
    channels = _channels(call)
    if channels is None:
        return
    for name, count in (("groups", geometry.groups), ("deformable groups", geometry.deformable_groups)):
        if channels % count:
            yield f"{channels} channels do not fall into {count} {name}"


def slowdowns(call: Call) -> Iterator[str]:
    """Yield why a call that compiles may run on the AI CPU, as clauses."""
    groups, channels = call.integer("deformable_groups", 1), _channels(call)
    if groups != 1:
        yield Caution(f"{groups} deformable groups, which kernels of 2022 leave to the slow AI CPU")
    elif channels is not None and channels % _CORE_CHANNELS:
        yield Caution(
            f"{channels} channels, no multiple of {_CORE_CHANNELS}, "
            "which kernels of 2022 leave to the slow AI CPU"
        )


def _check(call: Call) -> Iterator[str]:
    if call.opset not in _OPSETS:
        yield f"its name is known to the parser in opsets 9 to 16, the model has {call.opset}"
    yield from refusals(call)
    yield from slowdowns(call)


def _channels(call: Call) -> int | None:
    image = call.sizes(0)
    count = image[1] if image is not None and len(image) == 4 else None
    return count if isinstance(count, int) else None


def _broken_attributes(call: Call, geometry: Geometry) -> Iterator[str]:
    values = {"strides": geometry.strides, "pads": geometry.pads, "dilations": geometry.dilations}
    for name, (least, most) in _LARGEST.items():
        if not all(least <= item <= most for item in values[name]):
            yield f"{name} is {list(values[name])}, the target takes {least} to {most}"
    if geometry.pads[0] != geometry.pads[1]:
        # ops-nn expands [a, b] to a, a, b, b; canndev of 2022 to a, b, a, b.
        yield f"pads is {list(geometry.pads)}: releases of CANN read two different numbers in different ways"
    if "groups" not in call.attributes:
        yield "groups is not written, and the parser then takes 0"


def _broken_kernel(
    geometry: Geometry, image: tuple[int | str | None, ...] | None, weight: tuple[int | str | None, ...]
) -> Iterator[str]:
    height, width = weight[2:]
    for size in (height, width):
        if isinstance(size, int) and size > _LARGEST_KERNEL:
            yield f"the kernel has {size} taps along an axis, the target takes up to {_LARGEST_KERNEL}"
    outputs = weight[0]
    if isinstance(outputs, int) and outputs % geometry.groups:
        yield f"{outputs} output channels do not fall into {geometry.groups} groups"
    if image is None or len(image) != 4:
        return
    for name, taps, size, product in (
        ("high", height, image[2], _HEIGHT_TIMES_KERNEL),
        ("wide", width, image[3], _WIDTH_TIMES_KERNEL),
    ):
        if isinstance(taps, int) and isinstance(size, int) and size * taps > product:
            yield f"the image is {size} {name}, the target takes {product // taps} with {taps} taps"


def _broken_offsets(
    geometry: Geometry, weight: tuple[int | str | None, ...], offsets: tuple[int | str | None, ...] | None
) -> Iterator[str]:
    height, width = weight[2:]
    if not isinstance(height, int) or not isinstance(width, int) or offsets is None or len(offsets) != 4:
        return
    wanted = 3 * geometry.deformable_groups * height * width
    if isinstance(offsets[1], int) and offsets[1] != wanted:
        yield f"the offsets have {offsets[1]} channels, {wanted} belong to this kernel"


OPERATOR = ForeignOperator(
    op_type="DeformableConv2D",
    home="npu",
    domains=("",),
    is_target=True,
    shaped_like=_shaped_like,
    body=_body,
    check=_check,
    attributes=ATTRIBUTES,
    batched=(0, 2),
    note="deformable convolution of Ascend; offsets in blocks of x, y and mask",
)
