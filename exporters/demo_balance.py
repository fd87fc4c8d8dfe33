"""Scales for convolutions without batch norms, so that signals neither fade nor grow through them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_QUIET = 0.3
"""Deviation of what a branch adds, where the trunk has 1."""
_INNER_BIAS, _INNER_BIAS_SPREAD = 0.5, 0.5
"""In deviations: unlike thresholds make unlike channels, a positive mean keeps most of the signal."""


def balance_scales(module: "torch.nn.Module", images: NDArray[np.float32]) -> None:
    """Scale every convolution that no batch norm follows, so that its answer to ``images`` deviates by 1.

    Branches that are added to a trunk (RefineNet's units and pools) are made quieter, and biases are
    drawn anew. One run does all: each convolution is scaled before the next one sees its answer. The
    last convolution, whose answer is the module's, is scaled as the others are.

    Args:
        module: batch norms calibrated; called once.
        images: float32 [N, 3, H, W].

    Raises:
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose="making a demo checkpoint")
    generator = torch.Generator().manual_seed(0)

    def scaled(name: str) -> Any:
        wanted = _QUIET if name.endswith(("_conv_relu_varout_dimred", "_outvar_dimred")) else 1.0

        def hook(layer: Any, _: Any, answer: Any) -> Any:
            factor = wanted / float(answer.std())
            layer.weight.mul_(factor)
            answer = answer * factor
            if layer.bias is not None:
                layer.bias.normal_(_INNER_BIAS, _INNER_BIAS_SPREAD, generator=generator)
                answer = answer + layer.bias[:, None, None]
            return answer

        return hook

    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Conv2d) and name.rpartition(".")[2].endswith(("_conv", "_dimred"))
    ]
    handles = [layer.register_forward_hook(scaled(name)) for name, layer in layers]
    try:
        with torch.no_grad():
            for _, layer in layers:
                if layer.bias is not None:
                    layer.bias.zero_()
            module(torch.from_numpy(images))
    finally:
        for handle in handles:
            handle.remove()
