"""A chained residual pooling block whose last pool was trained with kernel 1, as RefineNet's is."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 9, 11)}


class ChainedPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 1))
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, bias=False) for _ in self.pools)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        total = path = torch.relu(features)
        for pool, conv in zip(self.pools, self.convs, strict=True):
            path = conv(pool(path))
            total = total + path
        return total


def build() -> nn.Module:
    return ChainedPooling()
