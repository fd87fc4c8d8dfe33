"""The DeepMAR network as torch modules; ``deepmar.py`` builds it."""

import torch
from torch import nn
from torch.nn import functional

from graphopt.exporters.models._resnet import ResNet


class DeepMAR(nn.Module):
    """Residual network, mean over its last map, one linear layer (Li et al. 2015).

    Args:
        blocks: bottlenecks per layer.
        width: channels of the stem.
        num_attributes: logits per image.
        pool: height and width of the last feature map; the mean is taken over all of it.
    """

    def __init__(
        self, *, blocks: tuple[int, int, int, int], width: int, num_attributes: int, pool: int
    ) -> None:
        super().__init__()
        self.base = ResNet(blocks, width)
        self.pool = pool
        self.classifier = nn.Linear(self.base.channels, num_attributes)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, 3, H, W]`` to what the classifier sees, ``[N, 2048]`` in full size."""
        # A constant kernel: one read from the map's shape is traced into Shape and Gather nodes.
        return functional.avg_pool2d(self.base(x), self.pool).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images float32 ``[N, 3, 224, 224]`` to logits ``[N, num_attributes]``."""
        return self.classifier(self.features(x))
