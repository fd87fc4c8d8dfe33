"""A transformer layer's normalisation and feed-forward part, exported by torch's newer exporter."""

import torch
from torch import nn

INPUTS = {"tokens": (2, 7, 12)}
OPSET = 20
DYNAMO = True


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.inner = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.inner(self.norm(tokens))


def build() -> nn.Module:
    return FeedForward()
