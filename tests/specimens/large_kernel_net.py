"""A block of a network with large depth-wise kernels, 31x31 and 5x5 beside it, as RepLKNet trains them."""

import torch
from torch import nn

INPUTS = {"features": (1, 4, 34, 37)}


class LargeKernelBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Conv2d(4, 4, 31, padding=15, groups=4), nn.BatchNorm2d(4))
        self.small = nn.Sequential(nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.BatchNorm2d(4))
        self.mix = nn.Sequential(nn.Conv2d(4, 8, 1), nn.GELU(), nn.Conv2d(8, 4, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.mix(torch.relu(self.large(features) + self.small(features)))


def build() -> nn.Module:
    return LargeKernelBlock()
