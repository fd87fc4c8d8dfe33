"""A text classifier that takes the maximum of its feature maps over the whole sentence of 300 words."""

import torch
from torch import nn
from torch.nn import functional

INPUTS = {"embedded": (1, 1, 300, 6)}


class SentenceNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(1, 4, (words, 6), padding=(words // 2, 0)) for words in (3, 5))
        self.head = nn.Linear(8, 3)

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        maps = [torch.relu(conv(embedded)) for conv in self.convs]
        best = [functional.max_pool2d(item, (300, 1)).flatten(1) for item in maps]
        return self.head(torch.cat(best, dim=1))


def build() -> nn.Module:
    return SentenceNet()
