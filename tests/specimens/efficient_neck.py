"""A detector neck with padding to the input's parity before strided layers, as EfficientDet has it."""

import torch
from torch import nn
from torch.nn import functional

INPUTS = {"features": (1, 5, 13, 18)}


class SameDown(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        return self.layer(functional.pad(x, (0, 2 - width % 2, 1 - height % 2, 1)))


class Neck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(SameDown(nn.Conv2d(5, 6, 3, stride=2)), nn.BatchNorm2d(6), nn.ReLU())
        self.pool = SameDown(nn.MaxPool2d(3, stride=2))
        self.second = nn.Sequential(SameDown(nn.Conv2d(6, 6, 3, stride=2, groups=6)), nn.ReLU6())

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        p4 = self.first(features)
        p5 = self.pool(p4) + self.second(p4)
        return p4, p5


def build() -> nn.Module:
    return Neck()
