"""A classifier's stem that normalises RGB pixels with a mean per channel and then pads with zeros."""

import torch
from torch import nn

INPUTS = {"pixels": (1, 3, 18, 14)}


class PaddedStem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1))
        self.stem = nn.Conv2d(3, 6, 7, stride=2, padding=3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.stem((pixels - self.mean) / self.std))


def build() -> nn.Module:
    return PaddedStem()
