"""An inverted residual of a mobile network with hard swish, and a Mish behind it."""

import torch
from torch import nn

INPUTS = {"features": (2, 6, 9, 11)}
OPSET = 18


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(6, 12, 1), nn.BatchNorm2d(12), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Hardswish())
        self.project = nn.Conv2d(12, 6, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return nn.functional.mish(features + self.project(self.depthwise(self.expand(features))))


def build() -> nn.Module:
    return Block()
