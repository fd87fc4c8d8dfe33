"""Seeded weights for a residual network whose pooled features still tell what the images show.

A plain random initialisation loses small things: strided convolutions skip pixels, and each layer
mixes anew. Here the shortcuts carry the signal (residual branches are quiet, 1x1 convolutions keep
angles) and what strides also looks around (3x3 kernels blur), so that the mean over the last map
remains close to a histogram of local colour and texture.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_QUIET = 0.2
"""Scale of a residual branch beside its shortcut."""
_SKIPPING_SHORTCUT = 0.5
"""Scale of a strided 1x1 shortcut, which sees one pixel in four, beside its branch, which sees all."""
_BLUR = 0.8
"""Share of a 3x3 kernel that is the same binomial window in every channel."""
_STEM_BIAS_SPREAD = 0.7
_INNER_BIAS, _INNER_BIAS_SPREAD = 0.7, 0.3
"""In deviations of the signal: unlike thresholds make unlike channels, and a positive mean lets most of
it through the ReLUs inside the blocks."""


def seed_module(module: "torch.nn.Module", seed: int) -> None:
    """Fill every convolution, batch norm and linear layer of a bottleneck ResNet, in place.

    Args:
        module: blocks are recognised by their attributes ``conv2``, ``bn3`` and ``downsample``.
        seed: of torch's generator, whose state is restored afterwards.

    Raises:
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                _fill_convolution(torch, layer.weight)
            elif isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_parameters()
            elif isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=0.01)
                torch.nn.init.zeros_(layer.bias)
        for name, layer in module.named_modules():
            if name.endswith("bn1"):
                torch.nn.init.normal_(layer.bias, std=_STEM_BIAS_SPREAD)  # blocks get their own below
        for layer in module.modules():
            if hasattr(layer, "bn3"):
                _balance_block(torch, layer)


def calibrate_batchnorm(module: "torch.nn.Module", batches: Iterable[NDArray[np.float32]]) -> None:
    """Set the running mean and variance of every batch norm to the average over ``batches``.

    Modes and momenta are restored, also when a batch fails; the weights stay as they are.

    Args:
        module: called once per batch.
        batches: each float32 [N, 3, H, W].

    Raises:
        UsageError: there is no batch.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    before = [(norm.training, norm.momentum) for norm in norms]
    seen = 0
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's word for a plain average over batches
            norm.train()
        with torch.no_grad():
            for batch in batches:
                module(torch.from_numpy(batch))
                seen += len(batch)
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.train(training)
            norm.momentum = momentum
    if not seen:
        raise UsageError("batch norms cannot be calibrated without images; give at least one batch")


def _fill_convolution(torch: Any, weight: "torch.Tensor") -> None:
    size = weight.shape[-1]
    if size == 1:
        torch.nn.init.orthogonal_(weight.view(weight.shape[0], -1))
        return
    if size == 3:
        window = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0]))
        blurred = torch.randn(*weight.shape[:2], 1, 1) * (window / window.norm())
        free = torch.randn(weight.shape) / size
        weight.copy_(_BLUR * blurred + math.sqrt(1 - _BLUR**2) * free)
        weight.mul_(math.sqrt(2 / weight.shape[1]))
        return
    # The stem: half of the filters are blobs of one random colour, the others see texture.
    torch.nn.init.kaiming_normal_(weight)
    blobs = weight.shape[0] // 2
    profile = torch.exp(-((torch.arange(size) - size // 2) ** 2) / 4.0)
    window = torch.outer(profile, profile)
    weight[:blobs] = torch.randn(blobs, weight.shape[1], 1, 1) * (window / window.norm())


def _balance_block(torch: Any, block: Any) -> None:
    for norm in (block.bn1, block.bn2):
        torch.nn.init.normal_(norm.bias, _INNER_BIAS, _INNER_BIAS_SPREAD)
    if block.downsample is None:
        torch.nn.init.constant_(block.bn3.weight, _QUIET)
    elif max(block.conv2.stride) > 1:
        torch.nn.init.constant_(block.downsample[1].weight, _SKIPPING_SHORTCUT)
