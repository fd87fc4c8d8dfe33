"""A vision transformer of one block: patches, class token, attention with a joint query, key and value."""

import torch
from torch import nn

INPUTS = {"image": (2, 3, 12, 16)}
FOLD = False


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 13, width))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.head = nn.Linear(2 * width, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.position
        batch, count, width = tokens.shape
        mixed = self.qkv(self.norm(tokens)).reshape(batch, count, 3, self.heads, width // self.heads)
        mixed = mixed.permute(2, 0, 3, 1, 4)
        query, key, value = mixed[0], mixed[1], mixed[2]
        weights = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        tokens = tokens + self.projection((weights @ value).transpose(1, 2).reshape(batch, count, width))
        return self.head(torch.cat([tokens[:, 0], tokens[:, -1]], dim=-1))


def build() -> nn.Module:
    return VisionTransformer()
