"""Weighted ridge regression, from rows that arrive image by image."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import UsageError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_NARROW = 0.5
"""Weight of a window's next place beside the one before it, from the middle outwards."""


class RidgeFit:
    """Fits a linear layer without keeping the rows; its bias is not penalised.

    Args:
        inputs: features of a row.
        outputs: targets of a row.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        self.rows = 0
        self._gram = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64)
        self._moments = torch.zeros(inputs + 1, outputs, dtype=torch.float64)

    def add(self, rows: "torch.Tensor", targets: "torch.Tensor", weights: "torch.Tensor") -> None:
        """Add some rows.

        Args:
            rows: float32 [n, inputs].
            targets: float32 [n, outputs].
            weights: float32 [n], at least 0.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        extended = torch.cat((rows, rows.new_ones(len(rows), 1)), 1)
        weighted = extended * weights[:, None]
        self._gram += (weighted.T @ extended).double()
        self._moments += (weighted.T @ targets).double()
        self.rows += len(rows)

    def solve(self, ridge: float) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return weight float32 [outputs, inputs] and bias float32 [outputs].

        Args:
            ridge: penalty relative to the features' mean variance.

        Raises:
            UsageError: no rows, or all of them have no weight.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        total = self._gram[-1, -1]
        if not float(total) > 0:
            raise UsageError("there is nothing to fit: no objects in the labelled images; give others")
        mean, target = self._gram[-1, :-1] / total, self._moments[-1] / total
        gram = self._gram[:-1, :-1] - total * torch.outer(mean, mean)
        moments = self._moments[:-1] - total * torch.outer(mean, target)
        penalty = ridge * float(gram.diagonal().mean()) + 1e-12 * float(total)
        gram.diagonal().add_(penalty)
        solved = torch.cholesky_solve(moments, torch.linalg.cholesky(gram))
        return solved.T.float().contiguous(), (target - mean @ solved).float()


class SmoothLayer:
    """A convolution or linear layer that is fitted with one number per channel, spread over its window.

    All numbers of a window of their own would fit the images, and nothing else.

    Args:
        layer: with bias; a convolution has stride 1, an odd kernel and padding that keeps the size.
    """

    def __init__(self, layer: Any) -> None:
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        self._layer = layer
        self.outputs, self.inputs = map(int, layer.weight.shape[:2])
        kernel = int(layer.weight.shape[-1]) if layer.weight.ndim == 4 else 1
        line = _NARROW ** (torch.arange(kernel) - kernel // 2).abs()
        self._window = torch.outer(line, line) / line.sum() ** 2

    def recorded(self, stack: ExitStack) -> list["torch.Tensor"]:
        """Return a list that fills with what the layer is given, until the stack is closed."""
        seen: list[torch.Tensor] = []
        handle = self._layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        stack.callback(handle.remove)
        return seen

    def rows(self, maps: "torch.Tensor", places: "torch.Tensor") -> "torch.Tensor":
        """Return what the fit sees at some places, float32 [n, C].

        Args:
            maps: float32 [1, C, H, W].
            places: int64 [n], row * W + column.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        kernel, channels = len(self._window), int(maps.shape[1])
        window = self._window.expand(channels, 1, kernel, kernel)
        smooth = torch.nn.functional.conv2d(maps, window, padding=kernel // 2, groups=channels)
        found: torch.Tensor = smooth[0].flatten(1)[:, places].T
        return found

    def set(self, weight: "torch.Tensor", bias: "torch.Tensor") -> None:
        """Set the layer to weight [outputs, C] and bias [outputs]."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        spread = weight[:, :, None, None] * self._window if self._layer.weight.ndim == 4 else weight
        with torch.no_grad():
            self._layer.weight.copy_(spread)
            self._layer.bias.copy_(bias)

    def transform(self, scale: float, shift: "torch.Tensor | float") -> None:
        """Let the layer answer ``scale * answer + shift``."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        with torch.no_grad():
            self._layer.weight.mul_(scale)
            self._layer.bias.mul_(scale).add_(shift)
