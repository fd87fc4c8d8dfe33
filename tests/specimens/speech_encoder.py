"""The convolutional front of a speech encoder: 1-D convolutions with batch norm, GELU and a shortcut."""

import torch
from torch import nn

INPUTS = {"frames": (2, 8, 41)}


def _layer(channels: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    pad = kernel // 2
    convolution = nn.Conv1d(channels, 8, kernel, stride=stride, padding=pad, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm1d(8), nn.GELU())


class SpeechEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = _layer(8, 5, 2)
        self.block = nn.Sequential(_layer(8, 9, 1, groups=8), nn.Conv1d(8, 8, 1), nn.PReLU(8))
        self.last = nn.Sequential(nn.MaxPool1d(2), _layer(8, 3, 1))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        hidden = self.first(frames)
        return self.last(hidden + self.block(hidden)).transpose(1, 2)


def build() -> nn.Module:
    return SpeechEncoder()
