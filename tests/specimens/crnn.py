"""A text recogniser: convolution, then a bidirectional LSTM and GRU along the line."""

import torch
from torch import nn

INPUTS = {"line": (1, 1, 8, 20)}


class Recogniser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d((8, 2)))
        self.lstm = nn.LSTM(6, 5, bidirectional=True)
        self.gru = nn.GRU(10, 4, bidirectional=True)
        self.classes = nn.Linear(8, 7)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        steps = self.features(line).squeeze(2).permute(2, 0, 1)
        return self.classes(self.gru(self.lstm(steps)[0])[0])


def build() -> nn.Module:
    return Recogniser()
