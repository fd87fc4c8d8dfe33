"""Seeded weights for any detector of mmdet, through which signals neither fade nor grow."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from graphopt.core.optional import require
from graphopt.exporters.demo_weights import seed_module

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_OFFSET_BIAS, _OFFSET_SPREAD = 0.5, 0.1
"""Pixels by which deformable taps are moved everywhere, and by what is seen there. With ten times as much
of the latter, rounding grows threefold in each such layer, and no two runtimes agree."""
_BIAS, _BIAS_SPREAD = 1.0, 0.5
"""In deviations: unlike thresholds make unlike channels, a positive mean lets most of the signal pass."""
_NECK_BIAS = 3.0
"""Of norms in a pyramid, where many stand in a row: with less, what a whole image has in common decides."""
_FROM_ABOVE = 0.5
"""Deviation of a pyramid's lateral answer beside that of the finer level: what is small stays visible."""
_AROUND = 0.1
"""Deviation of what a layer sees around a place beside what it sees there."""


def seed_detector(model: Any, images: "torch.Tensor", *, seed: int) -> None:
    """Fill all weights of a detector and calibrate them in one run over some images, in place.

    Batch norms get the statistics of these images. Layers that no norm follows are scaled so that each
    channel of their answer has deviation 1 and a mean of its own; deformable convolutions get small
    offsets instead of none. The last layers of the heads answer noise until they are fitted.

    Args:
        model: of mmdet 3.x, in eval mode.
        images: float32 [N, 3, H, W], N at least 2.
        seed: of torch's generator, whose state is restored afterwards.

    Raises:
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    seed_module(model, seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed + 1)
        for name, layer in model.named_modules():
            _fill(torch, name, layer)
        _calibrate(torch, model, images)


def scale_answers(layer: Any, answer: "torch.Tensor", *, deviation: float = 1.0) -> "torch.Tensor":
    """Scale a layer, given its answer, so that each channel has a deviation, and a mean drawn at random.

    Args:
        layer: linear or convolution, with bias; changed in place.
        answer: float32 [N, C, ...].
        deviation: of each channel.

    Returns:
        What the changed layer answers.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    shape = (-1,) + (1,) * (answer.ndim - 2)
    axes = [axis for axis in range(answer.ndim) if axis != 1]
    free = answer - layer.bias.reshape(shape)
    factor = deviation / free.std(axes).clamp(min=1e-3)
    wanted = deviation * torch.empty_like(layer.bias).normal_(_BIAS, _BIAS_SPREAD)
    bias = wanted - free.mean(axes) * factor
    layer.weight.mul_(factor.reshape(-1, *(1,) * (layer.weight.ndim - 1)))
    layer.bias.copy_(bias)
    scaled: torch.Tensor = free * factor.reshape(shape) + bias.reshape(shape)
    return scaled


def _fill(torch: Any, name: str, layer: Any) -> None:
    """Fill what is no part of a plain backbone in a way of its own."""
    if type(layer).__name__.startswith(("DeformConv2d", "ModulatedDeformConv2d")):
        torch.nn.init.kaiming_normal_(layer.weight)
    elif isinstance(layer, (torch.nn.modules.batchnorm._BatchNorm, torch.nn.GroupNorm)):
        if name.startswith("neck."):
            torch.nn.init.normal_(layer.bias, _NECK_BIAS, _BIAS_SPREAD)
        elif not name.startswith("backbone."):  # levels may have norms of their own before what they share
            torch.nn.init.constant_(layer.bias, _BIAS)
    elif isinstance(layer, torch.nn.Linear):
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    elif isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (3, 3):
        if "reg_convs" in name:
            _look_aside(torch, layer.weight)
        elif (
            "cls_convs" in name
            or name.endswith("rpn_conv")
            or (name.startswith("neck.") and layer.stride == (1, 1))
        ):
            _look_here(torch, layer.weight)


def _look_aside(torch: Any, weight: "torch.Tensor") -> None:
    """Let each channel look at one neighbour: what lies in which direction says where a box ends."""
    channels = int(weight.shape[0])
    side = torch.zeros(channels, 9).scatter_(1, torch.randint(9, (channels, 1)), 1.0)
    weight.copy_(torch.randn(weight.shape) * side.reshape(channels, 1, 3, 3))


def _look_here(torch: Any, weight: "torch.Tensor") -> None:
    """Let each channel look at one place, and a little around it."""
    around = torch.randn(weight.shape) * (_AROUND / (9 * weight.shape[1]) ** 0.5)
    middle = torch.nn.init.orthogonal_(torch.empty(weight.shape[:2]))
    around[:, :, 1, 1] += middle
    weight.copy_(around)


def _calibrate(torch: Any, model: Any, images: "torch.Tensor") -> None:
    norms = [item for item in model.modules() if isinstance(item, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    handles = [layer.register_forward_hook(_hook(name)) for name, layer in _free_layers(torch, model)]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for a plain average
            norm.train()
        levels = model.extract_feat(images)
        (model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head)(levels)
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def _free_layers(torch: Any, model: Any) -> list[tuple[str, Any]]:
    """Return the convolutions outside the backbone that no norm follows, and all that make offsets."""
    normed = {
        id(part.conv)
        for part in model.modules()
        if getattr(part, "with_norm", False) and hasattr(part, "conv")
    }
    return [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
        and layer.bias is not None
        and (name.endswith("conv_offset") or not name.startswith("backbone."))
        and id(layer) not in normed
    ]


def _hook(name: str) -> Callable[[Any, Any, Any], Any]:
    """Return what scales a layer at its first call; a layer that all levels share is called again."""
    done: list[bool] = []
    number = name.split(".")[2] if name.startswith("neck.lateral_convs.") else "0"

    def hook(layer: Any, _: Any, answer: Any) -> Any:
        if done:
            return answer
        done.append(True)
        if not name.endswith("conv_offset"):
            return scale_answers(layer, answer, deviation=_FROM_ABOVE ** int(number))
        factor = _OFFSET_SPREAD / float(answer.std().clamp(min=1e-6))
        bias = answer.new_empty(answer.shape[1]).normal_(0, _OFFSET_BIAS)
        free = answer - layer.bias[:, None, None]
        layer.weight.mul_(factor)
        layer.bias.copy_(bias)
        return free * factor + bias[:, None, None]

    return hook
