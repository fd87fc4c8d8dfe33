"""The end of a classifier and of a segmentation network: labels, the best candidates, their classes."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 9, 11)}
FOLD = False


class LabelHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.masks = nn.Conv2d(6, 5, 1)
        self.scores = nn.Conv2d(6, 3, 1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        labels = self.masks(features).argmax(1)
        counts = (labels > 2).int().long().float().sum((1, 2))
        scores = self.scores(features).flatten(2).transpose(1, 2).sigmoid().flatten(1)
        best, places = scores.topk(8, dim=1)
        classes, rows = places % 3, torch.div(places, 3, rounding_mode="floor")
        points = torch.arange(99, dtype=torch.float32).reshape(99, 1).expand(99, 2)
        return labels, counts, best, classes, points[rows[0]]


def build() -> nn.Module:
    return LabelHead()
