"""What mmcv's compiled operators answer to a call of one of ours."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from graphopt.core.tensors import Array


def answer(node: onnx.NodeProto, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Compute a call with mmcv.

    Args:
        node: of an operator in ``ANSWERS``, all of whose attributes that have no default are written.
        inputs: float32.
    """
    import torch

    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    with torch.no_grad():
        outputs = ANSWERS[node.op_type](attributes, [torch.from_numpy(item) for item in inputs])
    return tuple(item.numpy() for item in outputs)


def _mmcv() -> Any:
    return importlib.import_module("mmcv.ops")


def _plain(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:

    x, offset, weight = inputs
    given = (*_mmcv_geometry(attributes), attributes["groups"], attributes["deform_groups"])
    return (_mmcv().deform_conv2d(x, offset, weight, *given, False, len(x)),)


def _modulated(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:

    x, offset, mask, weight, *bias = inputs
    given = (*_mmcv_geometry(attributes), attributes["groups"], attributes["deform_groups"])
    return (_mmcv().modulated_deform_conv2d(x, offset, mask, weight, bias[0] if bias else None, *given),)


def _ascend(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    import torch

    x, weight, offsets, *bias = inputs
    across, down, mask = offsets.chunk(3, dim=1)
    moves = torch.stack([down, across], dim=2).flatten(1, 2)
    given = (
        *(list(attributes.get(name, [1, 1])) for name in ("strides", "pads", "dilations")),
        attributes.get("groups", 1),
        attributes.get("deformable_groups", 1),
    )
    return (
        _mmcv().modulated_deform_conv2d(
            x, moves, mask.contiguous(), weight, bias[0] if bias else None, *given
        ),
    )


def _mmcv_geometry(attributes: Mapping[str, Any]) -> tuple[list[int], ...]:
    return tuple(list(attributes[name]) for name in ("stride", "padding", "dilation"))


def _pooled(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    import torch

    *levels, rois = inputs
    size = (attributes["pooled_height"], attributes["pooled_width"])
    sides = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
    level_of = torch.log2(sides / attributes["finest_scale"] + 1e-6).floor().clamp(0, len(levels) - 1)
    pooled = torch.zeros(len(rois), levels[0].shape[1], *size)
    for level, (features, scale) in enumerate(zip(levels, attributes["spatial_scale"], strict=True)):
        rows = level_of == level
        samples, aligned = attributes["sample_num"], bool(attributes["aligned"])
        pooled[rows] = _mmcv().roi_align(features, rois[rows], size, scale, samples, "avg", aligned)
    return (pooled,)


def _suppressed(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    import torch

    boxes, scores = inputs
    batch, _, classes = scores.shape
    lowest, iou = attributes["score_threshold"], attributes["iou_threshold"]
    total = attributes["max_total_size"]
    outputs = [torch.zeros(batch, total, 4), torch.zeros(batch, total), torch.zeros(batch, total)]
    counts = torch.zeros(batch, dtype=torch.int32)
    for image in range(batch):
        kept = []
        for label in range(classes):
            mine = boxes[image, :, min(label, boxes.shape[2] - 1)]
            rows = (scores[image, :, label] > lowest) & (mine[:, 2:] > mine[:, :2]).all(1)
            if not rows.any():
                continue
            score, order = scores[image, rows, label].sort(descending=True, stable=True)
            mine = mine[rows][order]
            # mmcv sorts equal scores in no particular order; places in ours are scores that all differ.
            _, found = _mmcv().nms(mine, -torch.arange(len(mine), dtype=torch.float32), iou)
            found = found[: attributes["max_size_per_class"]]
            named = torch.full((len(found), 1), float(label))
            kept.append(torch.cat([mine[found], score[found, None], named], dim=1))
        if kept:
            every = torch.cat(kept)
            every = every[every[:, 4].argsort(descending=True, stable=True)][:total]
            counts[image] = len(every)
            for output, column in zip(outputs, (every[:, :4], every[:, 4], every[:, 5]), strict=True):
                output[image, : len(every)] = column
    return (*outputs, counts)


ANSWERS: Mapping[str, Callable[[Mapping[str, Any], Sequence[Any]], tuple[Any, ...]]] = {
    "MMCVDeformConv2d": _plain,
    "MMCVModulatedDeformConv2d": _modulated,
    "DeformableConv2D": _ascend,
    "RoiExtractor": _pooled,
    "BatchMultiClassNMS": _suppressed,
}
