"""The pass ``replace_dcn``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphopt.core.foreign_operator import Call, Operand
from graphopt.core.operators.deformable_conv2d import refusals, slowdowns
from graphopt.core.versioned_ops import Attribute
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, label, opset_of
from graphopt.surgery.semantics.deformable import (
    ASCEND,
    DeformableConvolution,
    deformable_nodes,
    read_deformable,
)
from graphopt.surgery.semantics.offset_blocks import OffsetBlocks, plan_blocks
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.values.derived_tensors import sizes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

_HOME = "npu"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Replaced(Site):
    """A deformable convolution, how its offsets get into blocks, and the attributes that the target reads."""

    found: DeformableConvolution
    blocks: OffsetBlocks
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True)
class ReplaceDcn(GraphPass):
    """Replace deformable convolutions of mmcv, ONNX and torch_npu by Ascend's ``DeformableConv2D``.

    Why: ATC knows no other; its offsets come in blocks of x, y and mask, and the mask is not optional.
    Before: ``x -> Conv -> offsets[y,x,y,x,...]``; ``MMCVDeformConv2d (x, offsets, w)``, the modulated one
    with a mask, ``DeformConv`` (opset 19), or torch_npu's ``NPUDeformableConv2d``.
    After: ``x -> Conv -> offsets[x..., y..., mask...]``; ``npu::DeformableConv2D (x, w, offsets)``: the
    channels of the convolution are put in order, the mask of one without is a channel with weight 0
    and bias 1. Offsets of other origin are put in order by a Gather. Unequal padding becomes a Pad.
    Seen in: deformable_block, faster_rcnn_dcn.
    """

    name: ClassVar[str] = "replace_dcn"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every deformable convolution but the target's own; see ``GraphPass.sites``."""
        nodes = list(deformable_nodes(model, ascends=False))
        types = infer_types(model) if nodes else {}
        for node in nodes:
            site = _site(model, node, types)
            yield Declined(node=node, why=site) if isinstance(site, str) else site

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put the offsets in order and write the target's node."""
        if not isinstance(site, _Replaced):
            return
        found = site.found
        new = VersionedBuilder(model, site.node)
        image = found.image
        if _needs_pad(found):
            top, left, bottom, right = found.pads
            image = new.pad(image, [0, 0, top, left, 0, 0, bottom, right])
        offsets = site.blocks.write(new)
        bias = [] if found.bias is None else [found.bias]
        inputs = (image, found.weight, offsets, *bias)
        output = site.node.outputs[0]
        new.replace(new.op(ASCEND, *inputs, attributes=site.attributes, like=output, domain=_HOME))


def _site(model: ir.Model, node: ir.Node, types: Mapping[ir.Value, Inferred]) -> _Replaced | str:
    found = read_deformable(node)
    if isinstance(found, str):
        return found
    weight = _operand(found.weight, types)
    kernel = () if weight.shape is None else weight.shape[2:]
    if len(kernel) != 2 or not all(isinstance(size, int) for size in kernel):
        return f"the size of its kernel {found.weight.name} is not known"
    taps = int(kernel[0] or 0) * int(kernel[1] or 0)
    blocks = plan_blocks(model, found, taps, types)
    if isinstance(blocks, str):
        return blocks
    attributes = _attributes(found)
    call = _call(model, found, weight, attributes, types)
    refused = list(refusals(call))
    if refused:
        return f"the target does not take it: {'; '.join(refused)}"
    notes = [blocks.what, *slowdowns(call)]
    if _needs_pad(found):
        notes.insert(1, f"padding {list(found.pads)} as a Pad")
    return _Replaced(
        node=node,
        what=f"{_size_text(weight)}, {'; '.join(notes)}",
        found=found,
        blocks=blocks,
        attributes=attributes,
    )


def _attributes(found: DeformableConvolution) -> dict[str, Attribute]:
    """Return all that the parser reads: what it would assume in the place of one left out differs."""
    geometry = found.geometry
    pad = 0 if _needs_pad(found) else found.pads[0]
    return {
        "strides": list(geometry.strides),
        "pads": [pad, pad],
        "dilations": list(geometry.dilations),
        "groups": geometry.groups,
        "deformable_groups": geometry.deformable_groups,
        "data_format": "NCHW",
        "modulated": 1,
    }


def _needs_pad(found: DeformableConvolution) -> bool:
    """Whether padding cannot be said in the two numbers that all releases of CANN read alike."""
    return len(set(found.pads)) > 1


def _call(
    model: ir.Model,
    found: DeformableConvolution,
    weight: Operand,
    attributes: Mapping[str, Attribute],
    types: Mapping[ir.Value, Inferred],
) -> Call:
    """Describe the call that will be written; the image as large as its padding makes it."""
    image = _operand(found.image, types)
    if _needs_pad(found) and image.shape is not None and len(image.shape) == 4:
        top, left, bottom, right = found.pads
        grown = [
            size + more if isinstance(size, int) else size
            for size, more in zip(image.shape, (0, 0, top + bottom, left + right), strict=True)
        ]
        image = Operand(dtype=image.dtype, shape=tuple(grown))
    plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in attributes.items()
        if isinstance(value, (int, str, list))
    }
    return Call(
        label=label(found.node),
        attributes=plain,
        inputs=(image, weight, Operand()),
        outputs=1,
        opset=opset_of(model, found.node),
    )


def _operand(value: ir.Value, types: Mapping[ir.Value, Inferred]) -> Operand:
    tensor = constant_tensor(value)
    if tensor is not None:
        return Operand(dtype=tensor.dtype, shape=tuple(sizes_of(tensor)))
    known = types.get(value)
    return Operand() if known is None else Operand(dtype=known.dtype, shape=known.shape)


def _size_text(weight: Operand) -> str:
    sizes = weight.shape or ()
    return f"{sizes[2]}x{sizes[3]} to {sizes[0]} channels"
