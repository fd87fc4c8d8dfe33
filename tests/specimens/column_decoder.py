"""Boxes decoded in place: columns of a tensor are assigned one after the other, as before functional code."""

import torch
from torch import nn

INPUTS = {"features": (1, 6, 7, 9)}
FOLD = False


class ColumnDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.distances = nn.Conv2d(6, 4, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        boxes = self.distances(features)[0].permute(1, 2, 0).reshape(-1, 4) * 4
        boxes[:, :2] = boxes[:, :2].sigmoid()
        boxes[:, 2:] = boxes[:, 2:].exp() + boxes[:, :2]
        boxes[3:5, 1:3] = boxes[5:7, 0:2]
        return boxes


def build() -> nn.Module:
    return ColumnDecoder()
