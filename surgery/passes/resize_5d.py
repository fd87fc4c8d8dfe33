"""The pass ``resize_5d``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of, opset_of
from graphopt.surgery.semantics.resize_sizes import (
    constant_scales,
    resize_attributes,
    resized,
    scales_between,
)
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

_SEPARABLE = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")
"""Coordinate modes that leave an axis alone when its size stays."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Volume(Site):
    """Channels, depth, height, width before and after, and the scales of the last three."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    scales: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Resize5d(GraphPass):
    """Write the resizing of a volume as that of pictures: height and width first, then depth.

    Why: Ascend's resize does not take volumes, or in two coordinate modes only.
    Before: ``x[N,C,D,H,W] -> Resize -> [N,C,D',H',W']``.
    After: ``Reshape [N,C*D,H,W] -> Resize -> Reshape [N,C,D,H'*W'] -> Resize -> Reshape``; what keeps
    its size is not resized. Linear interpolation is separable, so the numbers stay.
    Seen in: video_net.
    Known as: resize-5d-split (10).
    """

    name: ClassVar[str] = "resize_5d"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Resize`` of a tensor of rank 5; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "Resize"))
        types = infer_types(model) if found else {}
        for node in found:
            known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
            if known is None or known.shape is None or len(known.shape) != 5:
                continue
            place = _judge(model, node, known.shape, types)
            yield Declined(node=node, why=place) if isinstance(place, str) else place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write up to two resizes of rank 4."""
        node, value = site.node, site.node.inputs[0]
        if not isinstance(site, _Volume) or node.graph is None or value is None:
            return
        new = VersionedBuilder(model, node)
        channels, depth, height, width = site.before
        _, new_depth, new_height, new_width = site.after
        if (height, width) != (new_height, new_width):
            value = new.reshape(value, [0, channels * depth, height, width])
            value = _resize(new, node, value, [1.0, 1.0, *site.scales[1:]])
        if depth != new_depth:
            value = new.reshape(value, [0, channels, depth, new_height * new_width])
            value = _resize(new, node, value, [1.0, 1.0, site.scales[0], 1.0])
        new.replace(new.reshape(value, [0, *site.after]))


def _resize(new: VersionedBuilder, node: ir.Node, value: ir.Value, scales: Sequence[float]) -> ir.Value:
    roi = new.constant(np.zeros(0, dtype=np.float32), "roi")
    factors = new.constant(np.array(scales, dtype=np.float32), "scales")
    made = new.ops("Resize", value, roi, factors, attributes=_kept(node))[0]
    made.type = value.type
    return made


def _kept(node: ir.Node) -> dict[str, Any]:
    return {name: attribute.value for name, attribute in node.attributes.items() if name != "axes"}


def _judge(
    model: ir.Model, node: ir.Node, shape: Sequence[int | str | None], types: Mapping[ir.Value, Inferred]
) -> _Volume | str:
    if opset_of(model, node) < 11:
        return f"opset {opset_of(model, node)} has another Resize; convert the model to 11 or later first"
    attributes = resize_attributes(node)
    if isinstance(attributes, str):
        return attributes
    if attributes.mode not in ("nearest", "linear") or attributes.antialias:
        return f"mode {attributes.mode}{' with antialias' * attributes.antialias} is not taken apart"
    if attributes.coordinates not in _SEPARABLE:
        return f"{attributes.coordinates} moves also what keeps its size"
    result = types.get(node.outputs[0])
    after = None if result is None else result.shape
    if after is None or not _all_known(shape[1:]) or not _all_known(after[1:]):
        return "its sizes are not known; run static_shapes first"
    before, behind = _numbers(shape[1:]), _numbers(after[1:])
    if 0 in (*before, *behind):
        return "it is empty"
    scales = constant_scales(node, 5)
    keeps_batch = shape[0] == after[0] if scales is None else scales[0] == 1
    if before[0] != behind[0] or not keeps_batch:
        return "it resizes batch or channels"
    factors = scales_between(before[1:], list(behind[1:])) if scales is None else scales[2:]
    if resized(before[1:], factors) != list(behind[1:]):
        return f"no float32 scale leads from {list(before[1:])} to {list(behind[1:])}"
    what = f"{'x'.join(map(str, before[1:]))} -> {'x'.join(map(str, behind[1:]))}"
    return _Volume(node=node, what=what, before=before, after=behind, scales=tuple(factors))


def _all_known(sizes: Sequence[int | str | None]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _numbers(sizes: Sequence[int | str | None]) -> tuple[int, ...]:
    return tuple(size for size in sizes if isinstance(size, int))
