"""A searched pyramid in small: maps of three sizes are summed, gated by their means, enlarged and pooled."""

import torch
from torch import nn
from torch.nn import functional

INPUTS = {"image": (1, 3, 34, 40)}
FOLD = False


class MergingPyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.halve = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.quarter = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.mix = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(4))

    @staticmethod
    def fitted(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        height, width = like.shape[-2:]
        if value.shape[-2:] == like.shape[-2:]:
            return value
        if value.shape[-2] < height:
            return functional.interpolate(value, size=(height, width), mode="nearest")
        rows, columns = int(value.shape[-2]), int(value.shape[-1])
        down, across = -rows % int(height), -columns % int(width)
        if down or across:  # the odd row and column of a map that does not divide evenly
            value = functional.pad(value, (across // 2, across - across // 2, down // 2, down - down // 2))
        kernel = (int(value.shape[-2]) // int(height), int(value.shape[-1]) // int(width))
        return functional.max_pool2d(value, kernel, kernel)

    def attend(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        gate = functional.adaptive_avg_pool2d(high, 1).sigmoid()
        return high + gate * self.fitted(low, high)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        large = self.stem(image)[:, :, 1:-1]
        middle = self.halve(large)
        small = self.quarter(middle)
        first = self.mix[0](self.attend(small, middle).relu())
        second = self.mix[1]((self.fitted(first, large) + large).relu())
        third = self.mix[2]((self.fitted(second, middle) + first).relu())
        fourth = self.mix[3](self.attend(self.fitted(second, small), small).relu())
        odd = self.fitted(second.relu()[:, :, :-1, :-1], middle) + third
        return second, third, fourth, odd + self.fitted(second[:, :, :-1, :-1], middle)


def build() -> nn.Module:
    return MergingPyramid()
