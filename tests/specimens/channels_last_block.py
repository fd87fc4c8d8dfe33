"""A ConvNeXt block: pointwise layers and scale work on channels last, the convolution on channels first."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 5, 7)}


class Scale(nn.Module):
    """A layer of a channels-last code base: it turns its input, scales the channels, and turns it back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        last = features.permute(0, 2, 3, 1)
        return (torch.relu(last * self.factor) + 0.25).permute(0, 3, 1, 2)


class Block(nn.Module):
    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.scale = Scale(channels)
        self.expand = nn.Linear(channels, 2 * channels)
        self.reduce = nn.Linear(2 * channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        last = self.depthwise(self.scale(features)).permute(0, 2, 3, 1)
        last = self.reduce(torch.relu(self.expand(last)))
        return features + last.permute(0, 3, 1, 2)


def build() -> nn.Module:
    return Block()
