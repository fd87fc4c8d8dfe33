"""Attention as text models have it: a mask expanded to all heads and rows, views between single steps."""

import torch
from torch import nn

INPUTS = {"tokens": (2, 7, 12), "mask": (2, 7)}


class MaskedAttention(nn.Module):
    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.pool = nn.Linear(width, width)

    def split_heads(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, count, width = tokens.shape
        return tokens.view(batch, count, self.heads, width // self.heads).permute(0, 2, 1, 3)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, count, width = tokens.shape
        query, key, value = (self.split_heads(f(tokens)) for f in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / 1.0
        bias = (1.0 - mask)[:, None, None, :] * -100.0
        weights = (scores + bias.expand(batch, self.heads, count, count)).softmax(-1)
        mixed = (weights @ value).permute(0, 2, 1, 3).reshape(batch, count, width)
        flat = mixed.unsqueeze(1).reshape(batch * count, width)
        return torch.tanh(self.pool(flat).view(batch, 1, count, width).squeeze(1))


def build() -> nn.Module:
    return MaskedAttention()
