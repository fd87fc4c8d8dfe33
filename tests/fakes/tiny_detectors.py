"""Detectors of all kinds with a few thousand weights, as configurations over those of mmdet."""

import math
import warnings
from pathlib import Path
from typing import Any

KINDS = ("retinanet", "fcos", "atss", "faster_rcnn", "cascade_rcnn")
CLASSES = ("cat", "dog", "owl")
_BASES = {
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
    "fcos": "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    "atss": "atss/atss_r50_fpn_1x_coco.py",
    "faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "cascade_rcnn": "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "ssd": "ssd/ssd300_coco.py",
}
_DENSE = "bbox_head=dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1),"
_BOXES = "dict(num_classes=3, in_channels=16, fc_out_channels=32)"
_HEADS = {
    "retinanet": _DENSE,
    "fcos": _DENSE.replace("stacked", "norm_cfg=None, stacked"),
    "atss": _DENSE.replace("feat_channels=16", "feat_channels=64"),  # in 32 groups
    "faster_rcnn": "rpn_head=dict(in_channels=16, feat_channels=16), roi_head=dict("
    f"bbox_roi_extractor=dict(out_channels=16), bbox_head={_BOXES}),",
    "cascade_rcnn": "rpn_head=dict(in_channels=16, feat_channels=16), roi_head=dict("
    "bbox_roi_extractor=dict(out_channels=16), bbox_head=[dict(type='Shared2FCBBoxHead', "
    "in_channels=16, fc_out_channels=32, roi_feat_size=7, num_classes=3, reg_class_agnostic=True, "
    "bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[s, s, 2 * s, 2 * s]), "
    "loss_cls=dict(type='CrossEntropyLoss'), loss_bbox=dict(type='SmoothL1Loss')) "
    "for s in (0.1, 0.05, 0.033)]),",
}


def write_config(
    folder: Path, kind: str, *, more: str = "", data: str = "", classes: tuple[str, ...] = CLASSES
) -> Path:
    """Write ``KIND.py``; its images are scaled to 96 x 64 or less.

    Args:
        folder: where to.
        kind: one of ``KINDS``.
        more: further settings of the network, as they stand in ``dict(...)``.
        data: further statements.
        classes: their names.
    """
    norm = "norm_cfg=dict(requires_grad=True), norm_eval=False," if kind == "fcos" else ""
    path = folder / f"{kind}.py"
    path.write_text(f"""
_base_ = 'mmdet::{_BASES[kind]}'
classes = {classes}
model = dict(
    backbone=dict(depth=18, base_channels=8, {norm}init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    {_HEADS[kind].replace("num_classes=3", f"num_classes={len(classes)}")}
    {more}
)
test_dataloader = dict(dataset=dict(
    metainfo=dict(classes=classes),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(type='PackDetInputs'),
    ],
))
{data}
""")
    return path


def pictures(count: int, size: tuple[int, int], *, seed: int = 5) -> Any:
    """Make as many images of coarse noise, float32 [n, 3, H, W] of the range of normalised pixels."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    large = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return large + 0.2 * torch.randn(count, 3, *size, generator=generator)


def write_checkpoint(config: Path, size: tuple[int, int]) -> Path:
    """Write a seeded checkpoint with which the detector of a configuration detects something."""
    import torch

    from graphopt.recipes.mmdet_export import build_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = build_detector(str(config), size)
    model, images = module.model, pictures(4, size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
        model.extract_feat(images)
        model.eval()
        if hasattr(model, "bbox_head") and hasattr(model.bbox_head, "conv_reg"):
            for level, scale in enumerate(model.bbox_head.scales):  # boxes of some strides
                scale.scale.fill_(math.log(2.5 * 8 * 2**level))
        for name, layer in model.named_modules():
            _spread(name.rpartition(".")[2], layer, module, images[:1], generator)
    path = config.with_suffix(".pth")
    torch.save({"meta": {"mmengine_version": "0.10.4"}, "state_dict": model.state_dict()}, path)
    return path


_DEVIATIONS = {
    **dict.fromkeys(("conv_cls", "retina_cls", "atss_cls", "rpn_cls"), 1.5),
    **dict.fromkeys(("retina_reg", "atss_reg", "rpn_reg"), 0.3),
    "conv_reg": 0.12,
    "fc_cls": 1.5,
    "fc_reg": 0.3,
}
"""Of the answers of last layers; box coders multiply those of ``fc_reg`` by 0.1 and 0.2."""


def _spread(last: str, layer: Any, module: Any, image: Any, generator: Any) -> None:
    """Give a last layer random weights, so that its answers for an image deviate as much as they should."""
    import torch

    if last not in _DEVIATIONS:
        return
    seen: list[Any] = []
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    layer.bias.zero_()
    handle = layer.register_forward_hook(lambda _layer, _inputs, answer: seen.append(answer.flatten()))
    module(image)
    handle.remove()
    answers = torch.cat(seen)
    factor = _DEVIATIONS[last] / float(answers.std())
    layer.weight.mul_(factor)
    if last in ("conv_cls", "retina_cls", "atss_cls"):  # one in ten is above the threshold
        layer.bias.fill_(math.log(0.05 / 0.95) - float((answers * factor).quantile(0.9)))
    if last == "conv_reg":
        layer.bias.fill_(1.0)
