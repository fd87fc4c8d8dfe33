"""Detectors of all kinds with a few thousand weights, as configurations over those of mmdet."""

from pathlib import Path

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
    "atss": _DENSE.replace("feat_channels=16", "feat_channels=32"),  # its groups are 32
    "faster_rcnn": "rpn_head=dict(in_channels=16, feat_channels=16), roi_head=dict("
    f"bbox_roi_extractor=dict(out_channels=16), bbox_head={_BOXES}),",
    "cascade_rcnn": "rpn_head=dict(in_channels=16, feat_channels=16), roi_head=dict("
    "bbox_roi_extractor=dict(out_channels=16), "
    f"bbox_head={{'0': {_BOXES}, '1': {_BOXES}, '2': {_BOXES}}}),",
}


def write_config(folder: Path, kind: str, *, more: str = "", data: str = "") -> Path:
    """Write ``KIND.py``; its images are scaled to 128 x 96 or less.

    Args:
        folder: where to.
        kind: one of ``KINDS``.
        more: further settings of the network, as they stand in ``dict(...)``.
        data: further statements.
    """
    norm = "norm_cfg=dict(requires_grad=True), norm_eval=False," if kind == "fcos" else ""
    path = folder / f"{kind}.py"
    path.write_text(f"""
_base_ = 'mmdet::{_BASES[kind]}'
classes = {CLASSES}
model = dict(
    backbone=dict(depth=18, base_channels=8, {norm}init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    {_HEADS[kind]}
    {more}
)
test_dataloader = dict(dataset=dict(
    metainfo=dict(classes=classes),
    pipeline={{'1': dict(scale=(128, 96))}},
))
{data}
""")
    return path
