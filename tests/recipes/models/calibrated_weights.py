"""Random weights under which a detector's answers hardly depend on rounding: for tests of exactness.

Freshly initialised detectors answer with tied scores, or none above the threshold. Here every layer has
answers of one variance, and the last ones such means and deviations that each image has some detections.
"""

import math
from typing import Any

_DAMPED = 0.3
"""Share of a residual block's own branch: rounding grows less from block to block than with 1."""
_SPREADS = {
    "conv_cls": (-4.3, 1.0),
    "conv_reg": (1.0, 0.12),
    "conv_centerness": (2.0, 0.5),
    "retina_cls": (-4.8, 1.0),
    "retina_reg": (0.0, 0.1),
}
"""Mean and deviation of what the last layers of heads answer."""


def calibrate(model: Any, images: Any, *, seed: int) -> None:
    """Give a one-stage detector of mmdet such weights, in place.

    Args:
        model: mmdet's own, in eval mode.
        images: float32 [B, 3, H, W], what the statistics of norms are taken from.
        seed: of the weights.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    handles: list[Any] = []
    done: set[Any] = set()
    with torch.no_grad():
        for name, layer in model.named_modules():
            last = name.rpartition(".")[2]
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
                layer.weight.mul_(1 / math.sqrt(layer.weight[0].numel()))
                if layer.bias is not None:
                    layer.bias.zero_()
                    spread = _SPREADS.get(last, (0.0, 1.0))
                    handles.append(layer.register_forward_hook(_spreading(spread, done)))
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.8, 1.2, generator=generator)
                layer.weight.mul_(_DAMPED if last == "bn3" else 1.0)
                layer.bias.normal_(0, 0.1, generator=generator)
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
        for index, scale in enumerate(getattr(model.bbox_head, "scales", ())):
            scale.scale.fill_(math.log(2.5 * model.bbox_head.strides[index]))
        model.bbox_head(model.extract_feat(images))
        for handle in handles:
            handle.remove()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):  # maps of one cell say little of a variance
                layer.running_var.clamp_(min=float(layer.running_var.median()))
        model.eval()


def _spreading(spread: tuple[float, float], done: set[Any]) -> Any:
    def hook(layer: Any, _inputs: Any, answer: Any) -> Any:
        if layer in done:  # heads share their layers among levels
            return None
        done.add(layer)
        mean, deviation = spread
        factor = deviation / float(answer.std())
        shift = mean - factor * float(answer.mean())
        layer.weight.mul_(factor)
        layer.bias.mul_(factor).add_(shift)
        return answer * factor + shift

    return hook
