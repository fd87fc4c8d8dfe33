"""Read the attributes of deformable convolutions as their authors spell them."""

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from graphopt.core.bodies.deformable import DeformableBody, Geometry, Pair
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import AttributeValue, Call
from graphopt.core.versioned_ops import VersionedOps

Attributes = Mapping[str, AttributeValue]


def mmcv_geometry(attributes: Attributes) -> Geometry:
    """Read mmcv's and mmdeploy's: ``stride``, ``padding``, ``dilation``, ``groups``, ``deform_groups``.

    Names may end in ``_i``, PyTorch's mark of the type that it takes off; a single number stands for both
    axes. mmdeploy writes each padding twice: ``[h, h, w, w]``.

    Raises:
        PreconditionError: an attribute is missing or of another form.
    """
    return Geometry(
        strides=_pair(attributes, ("stride",)),
        pads=_pair(attributes, ("padding",), twice=True),
        dilations=_pair(attributes, ("dilation",)),
        groups=_integer(attributes, ("groups", "group")),
        deformable_groups=_integer(
            attributes, ("deform_groups", "deformable_groups", "deformable_group", "deform_group")
        ),
    )


def onnx_geometry(attributes: Attributes) -> Geometry:
    """Read what ONNX's ``DeformConv`` has (opset 19); the padding behind is left to the offsets' size.

    Raises:
        PreconditionError: an attribute is of another form.
    """
    pads = _integers(attributes, ("pads",), (0, 0, 0, 0))
    if len(pads) != 4:
        raise PreconditionError(f"pads is {list(pads)}, not four numbers")
    return Geometry(
        strides=_pair(attributes, ("strides",), default=(1, 1)),
        pads=(pads[0], pads[1]),
        dilations=_pair(attributes, ("dilations",), default=(1, 1)),
        groups=_integer(attributes, ("group",)),
        deformable_groups=_integer(attributes, ("offset_group",)),
    )


def ascend_geometry(attributes: Attributes) -> Geometry:
    """Read what ATC's parser reads; it takes one value for both axes, and knows no other names.

    Raises:
        PreconditionError: an attribute is missing or of another form, or the offsets come without a mask.
    """
    if not attributes.get("modulated", 1):
        raise PreconditionError("modulated is 0, which the target does not support")
    return Geometry(
        strides=_pair(attributes, ("strides",)),
        pads=_pair(attributes, ("pads",)),
        dilations=_pair(attributes, ("dilations",), default=(1, 1)),
        groups=_integer(attributes, ("groups",)),
        deformable_groups=_integer(attributes, ("deformable_groups",)),
    )


def torch_npu_geometry(attributes: Attributes) -> Geometry:
    """Read what torch_npu writes: sizes of all four axes, and ``paddings`` top, bottom, left, right.

    The padding behind is left to the offsets' size.

    Raises:
        PreconditionError: an attribute is missing or of another form, or the offsets come without a mask.
    """
    if not attributes.get("modulated", 1):
        raise PreconditionError("modulated is 0, which the target does not support")
    strides, dilations = (
        _four(attributes, "strides", None),
        _four(attributes, "dilations", (1, 1, 1, 1)),
    )
    if strides[:2] != (1, 1) or dilations[:2] != (1, 1):
        raise PreconditionError(f"strides {list(strides)} or dilations {list(dilations)} skip channels")
    pads = _four(attributes, "paddings", None)
    return Geometry(
        strides=(strides[2], strides[3]),
        pads=(pads[0], pads[2]),
        dilations=(dilations[2], dilations[3]),
        groups=_integer(attributes, ("groups",)),
        deformable_groups=_integer(attributes, ("deformable_groups",)),
    )


def _four(attributes: Attributes, name: str, default: tuple[int, ...] | None) -> tuple[int, int, int, int]:
    found = _integers(attributes, (name,), default)
    if len(found) != 4:
        raise PreconditionError(f"{name} is {list(found)}, not four numbers")
    return found[0], found[1], found[2], found[3]


def plain_convolution(node: ir.Node, geometry: Geometry, weight: int) -> Sequence[onnx.NodeProto] | None:
    """Return the convolution that has the same output sizes: moved sampling points change none.

    Args:
        node: the call; its image is input 0.
        geometry: of the call.
        weight: which input the weight is.

    Returns:
        None when an input is missing.
    """
    names = [value.name or "" if value is not None else "" for value in node.inputs]
    if len(names) <= weight or not names[0] or not names[weight]:
        return None
    plain = onnx.helper.make_node(
        "Conv",
        [names[0], names[weight]],
        [node.outputs[0].name or ""],
        strides=geometry.strides,
        pads=[*geometry.pads, *geometry.pads],
        dilations=geometry.dilations,
        group=geometry.groups,
    )
    return [plain]


def exporters_body(
    call: Call,
    build: VersionedOps,
    inputs: Sequence[ir.Value | None],
    *,
    geometry: Geometry,
    weight: int,
    offsets: int,
    mask: int | None,
    bias: int,
) -> Sequence[ir.Value]:
    """Write a call whose offsets are interleaved; the image is input 0, the others are where the numbers say.

    Raises:
        PreconditionError: an input is missing, or the opset is too old.
    """
    image, kernel, moves = (_given(call, inputs, index) for index in (0, weight, offsets))
    factor = _given(call, inputs, mask) if mask is not None and call.has_input(mask) else None
    shift = _given(call, inputs, bias) if call.has_input(bias) else None
    body = DeformableBody(build, geometry, image=image, weight=kernel, offsets=moves, dtype=call.dtype(0))
    return [body.output(body.interleaved(factor), shift)]


def ascend_body(
    call: Call, build: VersionedOps, inputs: Sequence[ir.Value | None], *, geometry: Geometry
) -> ir.Value:
    """Write a call of Ascend's operator: image, weight, offsets in blocks, bias.

    Raises:
        PreconditionError: an input is missing, or the opset is too old.
    """
    image, kernel, moves = (_given(call, inputs, index) for index in range(3))
    shift = _given(call, inputs, 3) if call.has_input(3) else None
    body = DeformableBody(build, geometry, image=image, weight=kernel, offsets=moves, dtype=call.dtype(0))
    return body.output(body.in_blocks(), shift)


def _given(call: Call, inputs: Sequence[ir.Value | None], index: int) -> ir.Value:
    value = inputs[index] if index < len(inputs) else None
    if value is None:
        raise PreconditionError(f"{call.label} lacks its input {index}")
    return value


def _find(attributes: Attributes, names: Sequence[str]) -> AttributeValue | None:
    spellings = (name + end for name in names for end in ("", "_i"))
    return next((attributes[name] for name in spellings if name in attributes), None)


def _integer(attributes: Attributes, names: Sequence[str]) -> int:
    found = _find(attributes, names)
    if found is None:
        return 1
    if not isinstance(found, int) or found < 1:
        raise PreconditionError(f"{names[0]} is {found!r}, not a count")
    return found


def _integers(
    attributes: Attributes, names: Sequence[str], default: tuple[int, ...] | None
) -> tuple[int, ...]:
    found = _find(attributes, names)
    if found is None and default is not None:
        return default
    numbers = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(item, int) for item in numbers):
        raise PreconditionError(f"{names[0]} is {'missing' if found is None else repr(found)}")
    return tuple(int(item) for item in numbers if item is not None)


def _pair(
    attributes: Attributes, names: Sequence[str], *, default: Pair | None = None, twice: bool = False
) -> Pair:
    """Return a number per axis, height before width."""
    found = _integers(attributes, names, default)
    if len(found) == 1:
        return found[0], found[0]
    if len(found) == 2:
        return found[0], found[1]
    if twice and len(found) == 4 and found[0] == found[1] and found[2] == found[3]:
        return found[0], found[2]
    raise PreconditionError(f"{names[0]} is {list(found)}, not one number per axis")
