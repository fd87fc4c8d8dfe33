"""A classifier on pooled features that multiplies by its own matrix and adds its own bias."""

import torch
from torch import nn

INPUTS = {"features": (3, 8, 5, 7)}


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(8, 5) / 3)
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.matmul(features.mean((2, 3)), self.matrix) + self.bias


def build() -> nn.Module:
    return Head()
