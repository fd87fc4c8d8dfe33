"""What is not exported says so in one line that names it; what only looks strange is exported."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from graphopt.core.errors import ExportError

pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

SIZE = (64, 96)
RCNN = "model['test_cfg'] = dict(rcnn=dict(nms=dict(_delete_=True, {})))"
CARAFE = (
    "model['neck'] = dict(_delete_=True, type='FPN_CARAFE', in_channels=[8, 16, 32, 64], out_channels=16, "
    "num_outs=5, upsample_cfg=dict(type='carafe', up_kernel=5, up_group=1, encoder_kernel=3, "
    "encoder_dilation=1, compressed_channels=8))"
)
POOLING = (
    "model['roi_head']['bbox_roi_extractor'] = "
    "dict(roi_layer=dict(_delete_=True, type='DeformRoIPoolPack', output_size=7, output_channels=16))"
)


def build(config: Path | str) -> Any:
    from graphopt.recipes.mmdet_export import build_detector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_detector(str(config), SIZE)


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("faster_rcnn", RCNN.format("type='soft_nms', iou_threshold=0.5"), "soft_nms.*only type nms"),
        ("faster_rcnn", RCNN.format("type='nms', iou_threshold=0.5, class_agnostic=True"), "class by class"),
        ("faster_rcnn", "model['test_cfg'] = dict(rcnn=dict(max_per_img=-1))", "rcnn: max_per_img is -1"),
        ("faster_rcnn", "model['test_cfg'] = dict(rpn=dict(max_per_img=0))", "rpn: max_per_img is 0"),
        ("retinanet", "model['test_cfg'] = dict(max_per_img=None)", "test_cfg: max_per_img is None"),
        ("retinanet", CARAFE, "operator carafe_forward of mmcv needs the compiled mmcv.*only nms, roi_align"),
        ("faster_rcnn", POOLING, "pooled by DeformRoIPoolPack; RoIAlign is exported"),
        ("faster_rcnn", "model['roi_head']['type'] = 'DoubleHeadRoIHead'", "DoubleHeadRoIHead"),
        ("faster_rcnn", "model['type'] = 'FastRCNN'\nmodel['rpn_head'] = None", "cannot|no rpn_head"),
        (
            "retinanet",
            "model['bbox_head']['type'] = 'GFLHeads'",
            "cannot build this RetinaNet.*GFLHead",
        ),
        ("retinanet", "model['backbone']['depth'] = 19", "cannot build this RetinaNet.*invalid depth 19"),
        ("retinanet", "model['neck']['in_channels'] = [8, 16, 32]", "cannot be run.*AssertionError"),
        (
            "retinanet",
            "model['neck']['in_channels'] = [8, 16, 32, 65]",
            r"cannot be run with an input of 64x96: RuntimeError",
        ),
    ],
)
def test_it_is_refused_by_name(tiny: Any, tmp_path: Path, kind: str, data: str, said: str) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        build(tiny.write_config(tmp_path, kind, data=data))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("deformable-detr_r50_16xb2-50e_coco", "DeformableDETR predicts in a way of its own"),
        ("panoptic-fpn_r50_fpn_1x_coco", "PanopticFPN predicts in a way of its own"),
        ("atss_r50_fpn_dyhead_1x_coco", r"has offsets of \d+x\d+ instead of \d+x\d+; such a network"),
        ("mask2former_r50_8xb2-lsj-50e_coco", "neither bbox_head nor roi_head"),
    ],
)
def test_packaged_ones_of_other_kinds_are_refused(config: str, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        build(config)


@pytest.mark.parametrize(
    "data",
    [
        "model['backbone']['norm_cfg'] = dict(type='SyncBN')",
        "model['neck']['type'] = 'PAFPN'",
    ],
)
def test_other_parts_are_exported(tiny: Any, tmp_path: Path, data: str) -> None:
    module = build(tiny.write_config(tmp_path, "retinanet", data=data))
    assert module.rows == 100


def test_masks_are_left_out_and_that_is_said(
    tiny: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = (
        "model['type'] = 'MaskRCNN'\n"
        "model['roi_head']['mask_roi_extractor'] = dict(type='SingleRoIExtractor', out_channels=16, "
        "roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0), featmap_strides=[4, 8, 16, 32])\n"
        "model['roi_head']['mask_head'] = dict(type='FCNMaskHead', num_convs=1, in_channels=16, "
        "conv_out_channels=16, num_classes=3)"
    )
    with caplog.at_level(logging.WARNING):
        module = build(tiny.write_config(tmp_path, "faster_rcnn", data=data))
    assert module.rows is None
    assert "MaskRCNN: masks are left out" in caplog.text


def test_an_input_of_odd_size_that_cannot_be_run_is_answered_with_the_next(tiny: Any, tmp_path: Path) -> None:
    from graphopt.recipes.mmdet_export import build_detector

    path = tiny.write_config(tmp_path, "retinanet", data="model['neck']['in_channels'] = [8, 16, 32, 65]")
    with pytest.raises(ExportError, match="its inputs are multiples of 32: try 64x128"):
        build_detector(str(path), (50, 100))
