"""Two-stage detectors of mmdet in which rounding stays small: equal graphs answer equally.

With plain random weights float32 noise grows a thousandfold through the backbone, and no two runtimes agree
on a detection. Here branches of the residual blocks are weak, as in trained networks, and every layer of the
heads is scaled on an image: scores spread, boxes move, and 1e-7 at the input stays below 1e-3 pixels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

BRANCH = 0.1
"""Of a residual block, beside what passes it by."""
SPREAD, BACKGROUND = 1.6, 6.0
"""Deviation of the logits of classes, and the mean of the background's."""
SEED = 3
_LEVELS = (64, 128, 256, 512)
_CHANNELS, _FEATURES = 32, 64


def thin(config: str) -> Mapping[str, Any]:
    """Return the changes by which a detector has all its layers and a sixteenth of the weights."""
    from graphopt.exporters.mmdet.configs import read_config

    head = read_config(config)["model"]["roi_head"]
    boxes = {"in_channels": _CHANNELS, "fc_out_channels": _FEATURES}
    several = isinstance(head["bbox_head"], list)
    return {
        "backbone.base_channels": 16,
        "neck.in_channels": list(_LEVELS),
        "neck.out_channels": _CHANNELS,
        "rpn_head.in_channels": _CHANNELS,
        "rpn_head.feat_channels": _CHANNELS,
        "roi_head.bbox_roi_extractor": {**head["bbox_roi_extractor"], "out_channels": _CHANNELS},
        "roi_head.bbox_head": [{**item, **boxes} for item in head["bbox_head"]]
        if several
        else {**head["bbox_head"], **boxes},
    }


def calm_detector(config: str, size: tuple[int, int], *, changes: Mapping[str, Any] | None = None) -> Any:
    """Return a detector as it is exported, calibrated on two scenes of its size."""
    from graphopt.recipes.mmdet_export import build_detector

    module = build_detector(config, size, changes=changes)
    calm(module, size)
    return module


def calm(module: Any, size: tuple[int, int]) -> None:
    """Give a detector its weights, in place."""
    import torch

    images, generator = scenes(2, size, first=90), torch.Generator().manual_seed(SEED)
    model = module.model
    with torch.no_grad():
        for name, layer in model.named_modules():
            if name.endswith("conv_offset"):
                for part, width in ((layer.bias, 0.5), (layer.weight, 0.004)):
                    part.copy_(torch.randn(part.shape, generator=generator) * width)
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
                if name.endswith("bn3"):
                    layer.weight.fill_(BRANCH)
        model.extract_feat(images)
        model.eval()
        rpn = model.rpn_head
        for layer, mean, deviation in (
            (rpn.rpn_conv, 0.0, 1.0),
            (rpn.rpn_cls, -2.0, 1.2),
            (rpn.rpn_reg, 0.0, 0.3),
        ):
            _scale(layer, lambda: rpn(model.extract_feat(images[:1])), mean, deviation, generator)
        several = model.roi_head.bbox_head
        for head in several if isinstance(several, torch.nn.ModuleList) else [several]:
            for layer in head.shared_fcs:
                _scale(layer, lambda: module(images[:1]), 0.0, 1.0, generator)
            _scale(head.fc_reg, lambda: module(images[:1]), 0.0, 1.0, generator)
            _scale(head.fc_cls, lambda: module(images[:1]), 0.0, SPREAD, generator)
            # Most regions are background, as in a trained detector: else the cap cuts all there is.
            head.fc_cls.bias[-1] = BACKGROUND


def _scale(layer: Any, run: Any, mean: float, deviation: float, generator: Any) -> None:
    """Fill a layer with noise; the answers of each channel get this mean, all together this deviation."""
    import torch

    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    layer.bias.zero_()
    seen: list[Any] = []
    handle = layer.register_forward_hook(
        lambda _layer, _inputs, answer: seen.append(answer.transpose(0, 1).flatten(1))
    )
    run()
    handle.remove()
    answers = torch.cat(seen, 1)
    means = answers.mean(1)
    factor = deviation / float((answers - means[:, None]).std())
    layer.weight.mul_(factor)
    layer.bias.copy_(mean - factor * means)


def scenes(count: int, size: tuple[int, int], *, first: int = 1) -> Any:
    """Return drawn photographs as a detector gets them, normalised RGB, float32 [count, 3, H, W]."""
    import torch

    from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd

    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    height, width = size
    photos = [
        np.asarray(
            synthetic_crowd(number, seed=7, width=width, height=height, objects=(8, 14))[0].convert("RGB")
        )
        for number in range(first, first + count)
    ]
    pixels = (np.stack(photos) - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32))
