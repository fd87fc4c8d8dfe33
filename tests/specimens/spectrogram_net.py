"""A sound classifier whose short-time Fourier transform is a 1-D convolution with a window of 512."""

import math

import torch
from torch import nn
from torch.nn import functional

INPUTS = {"waveform": (1, 1, 1024)}
WINDOW, HOP, BINS = 512, 128, 12


class SpectrogramNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        phase = 2 * math.pi * torch.arange(BINS)[:, None] * torch.arange(WINDOW) / WINDOW
        basis = torch.cat([torch.cos(phase), torch.sin(phase)]) * torch.hann_window(WINDOW)
        self.register_buffer("basis", basis[:, None])
        self.head = nn.Sequential(
            nn.Conv1d(BINS, 7, 3, padding=1), nn.BatchNorm1d(7), nn.ReLU(), nn.AvgPool1d(2),
            nn.Conv1d(7, 4, 2),
        )  # fmt: skip

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(waveform, (WINDOW // 2, WINDOW // 2), mode="reflect")
        real, imaginary = functional.conv1d(padded, self.basis, stride=HOP).split(BINS, dim=1)
        return self.head(torch.log(real * real + imaginary * imaginary + 1)).mean(-1)


def build() -> nn.Module:
    return SpectrogramNet()
